import assert from "node:assert/strict";
import test from "node:test";

import { ModelError } from "../src/errors.js";
import { closeShapes } from "../src/shapes.js";
import { readBytes, readCases, write } from "./cases.mjs";

test("the shapes of a network are closed, for Python to run it", () => {
  const network = readBytes("network");
  const { inputs, outputs } = readCases("shapes");
  closeShapes(network, inputs, outputs);
  write("closed", network);
});

test("a file that is no such network is refused", () => {
  // A root table of no fields, whose list of places lies behind it.
  const empty = Uint8Array.of(4, 0, 0, 0, 252, 255, 255, 255, 4, 0, 4, 0);
  assert.throws(() => closeShapes(empty, [], []), ModelError);
});
