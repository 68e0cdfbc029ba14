// The networks of a model's folder (docs/lite.md) on LiteRT, in float32 on the processor.

import { Tensor, loadAndCompile, loadLiteRt } from "@litertjs/core";

import { ModelError } from "./errors.js";
import { closeShapes } from "./shapes.js";

const complaints = []; // of the runtime, which says some faults nowhere else

/** Loads LiteRT from a folder with its files; once. */
export async function openRuntime(folder) {
  if (openRuntime.done) return;
  // For LiteRT's loader, which would look beside the worker's script, and that is in no folder.
  self.Module = {
    locateFile: (file) => folder + file,
    print: hear,
    printErr: hear,
  };
  await loadLiteRt(folder);
  openRuntime.done = true;
}

function hear(line) {
  if (line.startsWith("ERROR")) complaints.push(line);
}

/**
 * Runs a network of a model, which is loaded for it and freed behind it.
 *
 * @param {object} model what `Models.find` gives
 * @param {string} name of the network
 * @param {{data: Int32Array | Float32Array, shape: number[]}[]} arrays in their places
 * @param {number[]} padded [height, width] of what the picture, or the tile, is padded to
 * @returns its outputs, as the inputs are
 * @throws {ModelError} where the runtime fails
 */
export async function run(model, name, arrays, padded) {
  const file = await model.read(`${name}.tflite`);
  const inputSides = arrays.map(({ shape }) => shape.slice(1, 3));
  const strides = model.description.strides[name];
  const outputSides = strides.map((stride) => padded.map((side) => side / stride));
  closeShapes(file, inputSides, outputSides);
  return compute(name, file, arrays);
}

/** The arrays that a network's file makes of arrays. */
async function compute(name, file, arrays) {
  complaints.length = 0;
  const network = await loadAndCompile(file, { accelerator: "wasm" });
  const inputs = arrays.map(({ data, shape }) => new Tensor(data, shape));
  const outputs = await network.run(inputs);
  if (complaints.length) throw new ModelError(`LiteRT cannot run ${name}: ${complaints[0]}`);
  const results = outputs.map((tensor) => ({
    data: tensor.toTypedArray(),
    shape: Array.from(tensor.type.layout.dimensions),
  }));
  for (const each of [...inputs, ...outputs, network]) each.delete();
  return results;
}
