// The cases that tests/test_view.py wrote: what Python says.

import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";

const folder = process.env.TFCODEC_CASES;

export const readCases = (name) =>
  JSON.parse(readFileSync(path.join(folder, `${name}.json`), "utf8"));

export const readBytes = (name) => Uint8Array.from(readFileSync(path.join(folder, name)));

export const write = (name, content) => writeFileSync(path.join(folder, name), content);

export const fromHex = (text) => Uint8Array.from(Buffer.from(text, "hex"));

export const toHex = (bytes) => Buffer.from(bytes).toString("hex");

/** What a function returns, or the sentence of what it throws. */
export async function outcome(call) {
  try {
    return { value: await call() };
  } catch (error) {
    return { error: error.message, kind: error.constructor.name };
  }
}
