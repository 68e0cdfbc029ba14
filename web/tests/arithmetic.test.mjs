import assert from "node:assert/strict";
import test from "node:test";

import { RangeDecoder } from "../src/arithmetic.js";
import { symbolsChecksum } from "../src/container.js";
import { ContainerError, ModelError } from "../src/errors.js";
import { CodingTables } from "../src/tables.js";
import { fromHex, readBytes, readCases } from "./cases.mjs";

const numbers = (name) => new Int32Array(readBytes(name).buffer);
const tables = new CodingTables(...["lookup", "offsets", "sizes"].map(numbers));

const open = ({ streams, escapes }) =>
  new RangeDecoder(tables, streams.map(fromHex), escapes, "k.tfcd");
const readAll = (decoder, steps) =>
  steps.map(({ indexes }) => decoder.read(indexes.length, (i) => indexes[i]));

test("symbols, bits and their checksum are those that were coded", () => {
  for (const { steps, checksum, ...file } of readCases("cases")) {
    const decoder = open(file);
    const found = readAll(decoder, steps);
    decoder.finish();
    found.forEach(({ symbols, bits }, k) => {
      assert.deepEqual(Array.from(symbols), steps[k].symbols);
      assert.ok(Math.abs(bits - steps[k].bits) < 1e-6 * (1 + bits));
    });
    assert.equal(symbolsChecksum(found.map(({ symbols }) => symbols)), checksum);
  }
});

test("any stream decodes to some symbols, or escapes are too few or too many", () => {
  for (const { streams, escapes, steps } of readCases("cases")) {
    const noise = streams.map((hex) => hex.replaceAll("3", "c"));
    const decoder = open({ streams: noise, escapes });
    assert.throws(() => {
      readAll(decoder, steps);
      decoder.finish();
      throw new ContainerError("by chance as many");
    }, ContainerError);
  }
});

test("a row that the tables do not have is the model's fault", () => {
  for (const row of [0, -1, tables.rows, NaN]) {
    assert.throws(() => open(readCases("cases")[0]).read(1, () => row), ModelError);
  }
});

test("tables that do not fit together are refused", () => {
  assert.throws(
    () => new CodingTables(tables.lookup.slice(1), tables.offsets, tables.sizes),
    ModelError,
  );
});
