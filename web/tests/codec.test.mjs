import assert from "node:assert/strict";
import test from "node:test";

import { rungOf } from "../src/codec.js";
import { grid } from "../src/tiles.js";
import { readCases } from "./cases.mjs";

test("tiles are those of Python", () => {
  for (const { height, width, tiling, grid: expected } of readCases("tiles")) {
    assert.deepEqual(grid(height, width, tiling, 64), expected);
  }
});

test("a model without tiles sees the whole picture", () => {
  const whole = (side) => ({ start: 0, stop: side, first: 0, last: side });
  assert.deepEqual(grid(6400, 64, null, 64), [[whole(6400), whole(64)]]);
});

test("rungs are those of Python", () => {
  for (const { config, rungs } of readCases("rungs")) {
    assert.deepEqual(
      rungs.map((_, byte) => rungOf(byte, config)),
      rungs,
    );
  }
});
