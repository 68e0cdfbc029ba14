import assert from "node:assert/strict";
import test from "node:test";

import { alphaFromPng, toPng } from "../src/png.js";
import { fromHex, outcome, readCases, toHex, write } from "./cases.mjs";

test("alpha is read, and refused, as in Python", async () => {
  for (const { png, height, width, pixels, error } of readCases("alphas")) {
    const found = await outcome(() => alphaFromPng(fromHex(png), height, width, "k.tfcd"));
    if (error) {
      assert.equal(found.error?.split(" (")[0], error);
      assert.equal(found.kind, "ContainerError");
    } else {
      assert.ok(found.value, found.error);
      assert.equal(toHex(found.value), pixels);
    }
  }
});

test("pictures are written, for Python to read", async () => {
  for (const [k, { shape, pixels }] of readCases("pictures").entries()) {
    const png = await toPng(fromHex(pixels), ...shape);
    write(`${k}.png`, new Uint8Array(await png.arrayBuffer()));
  }
});
