// LiteRT for browsers lays the memory of a network out by the shapes in its file, which are open
// there: [1, -1, -1, c]. They are closed in the file, a FlatBuffer of TensorFlow Lite's schema
// (https://flatbuffers.dev/internals, tensorflow/lite/schema/schema.fbs), before it is loaded.

import { ModelError } from "./errors.js";

// Places of fields in the tables of the schema.
const MODEL = { subgraphs: 2 };
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

  setIntegers(field, values) {
    const elements = this.elements(field);
    values.forEach((value, k) => this.view.setInt32(elements[k], value, true));
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
 * Closes the open shapes of a network's inputs and outputs, in its file.
 *
 * @param {Uint8Array} network changed in place
 * @param {number[][]} inputSides, outputSides [height, width] of each input and output
 * @throws {ModelError} for a file that is no such network
 */
export function closeShapes(network, inputSides, outputSides) {
  const view = new DataView(network.buffer, network.byteOffset, network.byteLength);
  const graphs = new Table(view, follow(view, 0)).tables(MODEL.subgraphs);
  if (graphs.length !== 1) throw new ModelError(`one graph was expected, found ${graphs.length}`);
  const [graph] = graphs;
  const tensors = graph.tables(SUBGRAPH.tensors);
  const close = (field, sides) =>
    graph.integers(field).forEach((tensor, k) => closeShape(tensors[tensor], sides[k]));
  close(SUBGRAPH.inputs, inputSides);
  close(SUBGRAPH.outputs, outputSides);
}

/** Gives an open shape its sides. */
function closeShape(tensor, sides) {
  const open = tensor.integers(TENSOR.openShape);
  if (!open.includes(-1)) return;
  const shape = [open[0], ...sides, open[3]];
  tensor.setIntegers(TENSOR.shape, shape);
  tensor.setIntegers(TENSOR.openShape, shape);
}
