import assert from "node:assert/strict";
import test from "node:test";

import { unpack } from "../src/container.js";
import { fromHex, outcome, readCases, toHex } from "./cases.mjs";

test("files are read, and refused, as in Python", async () => {
  for (const { file, error, fields } of readCases("container")) {
    const found = await outcome(() => unpack(fromHex(file), "k.tfcd"));
    if (error) {
      assert.deepEqual(found, { error, kind: "ContainerError" }, file);
      continue;
    }
    assert.ok(found.value, `${found.error} ${file}`);
    const { streams, alpha, ...others } = found.value;
    const hex = { streams: streams.map(toHex), alpha: alpha && toHex(alpha) };
    const picked = Object.keys(fields).map((key) => [key, { ...others, ...hex }[key]]);
    assert.deepEqual(Object.fromEntries(picked), fields, file);
  }
});
