// A network's file as LiteRT for browsers takes it. It is a FlatBuffer of TensorFlow Lite's schema
// (https://flatbuffers.dev/internals, tensorflow/lite/schema/schema.fbs), changed in two things:
//
// - Shapes are open there, [1, -1, -1, c], and the runtime lays its memory out by them.
// - It gives each output memory of its own, though an output may be an input that is handed on, or
//   another output again: then the network would read or leave what nobody wrote. Such outputs are
//   left out, and taken from the array that they are.

import { ModelError } from "./errors.js";

// Places of fields in the tables of the schema.
const MODEL = { subgraphs: 2, signatures: 7 };
const SUBGRAPH = { tensors: 0, inputs: 1, outputs: 2 };
const TENSOR = { shape: 0, openShape: 7 };

/** A table of a FlatBuffer: its fields are found through a list of their places. */
class Table {
  constructor(view, at) {
    this.view = view;
    this.at = at;
  }

  /** Where a field is, null if it is left out. */
  place(field) {
    const { view, at } = this;
    const places = at - view.getInt32(at, true);
    const entry = 4 + 2 * field;
    const inside = entry < view.getUint16(places, true) ? view.getUint16(places + entry, true) : 0;
    return inside ? at + inside : null;
  }

  /** Where the elements of a vector of numbers or of references are. */
  elements(field) {
    const place = this.place(field);
    if (place === null) return [];
    const vector = follow(this.view, place);
    const length = this.view.getUint32(vector, true);
    return Array.from({ length }, (_, k) => vector + 4 * (k + 1));
  }

  integers(field) {
    return this.elements(field).map((at) => this.view.getInt32(at, true));
  }

  /** Puts other numbers into a vector, no more than there were. */
  setIntegers(field, values) {
    const elements = this.elements(field);
    values.forEach((value, k) => this.view.setInt32(elements[k], value, true));
    if (elements.length) this.view.setUint32(elements[0] - 4, values.length, true);
  }

  tables(field) {
    return this.elements(field).map((at) => new Table(this.view, follow(this.view, at)));
  }
}

/** What a reference points to, which counts from its own place. */
function follow(view, at) {
  return at + view.getUint32(at, true);
}

/**
 * Changes a network's file, in place.
 *
 * @param {Uint8Array} network
 * @param {number[][]} inputSides, outputSides [height, width] of each input and output
 * @returns {{inputs: number[], outputs: number[], given: number[]}} numbers of tensors: of the
 *   inputs and outputs as they were, and of the outputs that the runtime gives
 * @throws {ModelError} for a file that is no such network
 */
export function prepare(network, inputSides, outputSides) {
  const view = new DataView(network.buffer, network.byteOffset, network.byteLength);
  const model = new Table(view, follow(view, 0));
  const graphs = model.tables(MODEL.subgraphs);
  if (graphs.length !== 1 || model.elements(MODEL.signatures).length) {
    throw new ModelError("a network of several graphs or with signatures, which this page cannot run");
  }
  const [graph] = graphs;
  const tensors = graph.tables(SUBGRAPH.tensors);
  const [inputs, outputs] = [graph.integers(SUBGRAPH.inputs), graph.integers(SUBGRAPH.outputs)];
  inputs.forEach((tensor, k) => closeShape(tensors[tensor], inputSides[k]));
  outputs.forEach((tensor, k) => closeShape(tensors[tensor], outputSides[k]));
  const given = [...new Set(outputs)].filter((tensor) => !inputs.includes(tensor));
  graph.setIntegers(SUBGRAPH.outputs, given);
  return { inputs, outputs, given };
}

/** Gives an open shape its sides. */
function closeShape(tensor, sides) {
  const open = tensor.integers(TENSOR.openShape);
  if (!open.includes(-1)) return;
  const shape = [open[0], ...sides, open[3]];
  tensor.setIntegers(TENSOR.shape, shape);
  tensor.setIntegers(TENSOR.openShape, shape);
}
