import assert from "node:assert/strict";
import test from "node:test";

import { ModelError } from "../src/errors.js";
import { prepare } from "../src/shapes.js";
import { readBytes, readCases, write } from "./cases.mjs";

test("a network is prepared, for Python to run", () => {
  const network = readBytes("network");
  const { inputs, outputs } = readCases("shapes");
  const found = prepare(network, inputs, outputs);
  write("prepared", network);
  const taken = found.outputs.map((tensor) => {
    const input = found.inputs.indexOf(tensor);
    return input < 0 ? ["output", found.given.indexOf(tensor)] : ["input", input];
  });
  write("taken.json", JSON.stringify(taken));
});

test("a file that is no such network is refused", () => {
  // A root table of no fields, whose list of places lies behind it.
  const empty = Uint8Array.of(4, 0, 0, 0, 252, 255, 255, 255, 4, 0, 4, 0);
  assert.throws(() => prepare(empty, [], []), ModelError);
});
