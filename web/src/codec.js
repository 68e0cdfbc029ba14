// From an unpacked file to a picture, in the order of docs/lite.md; as tfcodec/codec.py decodes.

import { RangeDecoder } from "./arithmetic.js";
import { symbolsChecksum } from "./container.js";
import { ContainerError, ModelError } from "./errors.js";
import { QUALITY_STEPS, RANGE_CODER } from "./format.js";
import { alphaFromPng } from "./png.js";
import { grid } from "./tiles.js";

/**
 * Decodes a file.
 *
 * @param {object} container from `unpack`
 * @param {object} model {config, description, tables}: config.json, litert.json, `CodingTables`
 * @param {Function} run (network, arrays, padded) to the network's outputs, as `Networks.run`
 * @param {string} name what to call the file in an error
 * @param {(what: string) => void} progress called with what is done now
 * @returns {{pixels: Uint8Array, channels: number, steps: {name: string, symbols: number, bits:
 *   number}[]}} pixels [height, width, channels], gray or RGB, with alpha if the file has it
 * @throws {ModelError} for a file of another model, or whose symbols come out other than they went
 *   in
 * @throws {ContainerError} for one whose parts do not fit together
 */
export async function decode(container, model, run, name, progress = () => {}) {
  checkModel(container, model, name);
  const { height, width } = container;
  const alpha = container.alpha && (await alphaFromPng(container.alpha, height, width, name));
  const padded = [height, width].map((side) => nextMultiple(side, model.config.stride));
  const { yHat, steps } = await walk(container, model, run, padded, name, progress);
  const rgb = await synthesize(yHat, container, model, run, padded, progress);
  const color = container.gray ? toGray(rgb) : rgb;
  return { ...withAlpha(color, alpha, height * width), steps };
}

function checkModel(container, { config }, name) {
  if (container.fingerprint !== config.fingerprint) {
    throw new ModelError(
      `${name}: was written by the model with fingerprint ${container.fingerprint}, ` +
        `${config.name} has ${config.fingerprint}`,
    );
  }
  if (container.profile !== config.profile) {
    throw new ModelError(
      `${name}: needs arithmetic profile ${container.profile}, ` +
        `${config.name} has ${config.profile}`,
    );
  }
  if (container.coder === RANGE_CODER) {
    throw new ModelError(
      `${name}: was written with the coder range-coder, which this page does not have; ` +
        "`tfcodec decode` reads it",
    );
  }
}

/** The decoded latents, and what the symbols of each step took, after the symbols' checksum. */
async function walk(container, model, run, padded, name, progress) {
  const { config, description, tables } = model;
  const decoder = new RangeDecoder(tables, container.streams, container.escapes, name);
  let [state, previous] = [{}, null];
  const [all, steps] = [[], []];
  for (const [k, part] of config.steps.entries()) {
    progress(`step ${k + 1} of ${config.steps.length}`);
    const structure = description.functions.steps[k];
    const results = await call(run, `step${k}`, structure, [state, previous], padded);
    const [next, , indexes] = results;
    const shape = [1, ...padded.map((side) => side / part.stride), part.channels];
    const count = shape.reduce((a, b) => a * b);
    // An index of each symbol, or one of each channel.
    const rowOf = (i) => indexes.data[i % indexes.data.length];
    const { symbols, bits } = decoder.read(count, rowOf);
    [state, previous] = [next, { data: symbols, shape }];
    all.push(symbols);
    steps.push({ name: part.name, symbols: count, bits });
  }
  decoder.finish();
  if (symbolsChecksum(all) !== container.checksum) {
    throw new ModelError(
      `${name}: the decoded symbols differ from the encoder's; the file is damaged, or ` +
        `${config.name} computes otherwise here (another browser or processor)`,
    );
  }
  const { finish } = description.functions;
  return { yHat: await call(run, "finish", finish, [state, previous], padded), steps };
}

/** RGB of a picture [height, width, 3], tile by tile. */
async function synthesize(yHat, container, model, run, padded, progress) {
  const { config, description } = model;
  const rung = { data: Float32Array.of(rungOf(container.quality, config)), shape: [1] };
  const { height, width } = container;
  const rgb = new Uint8Array(height * width * 3);
  const tiles = grid(...padded, config.tiling, config.stride);
  for (const [k, [rows, columns]] of tiles.entries()) {
    progress(tiles.length === 1 ? "synthesis" : `tile ${k + 1} of ${tiles.length}`);
    const seen = mapLeaves(yHat, (latent) => cut(latent, rows, columns, padded[0]));
    const sides = [rows.stop - rows.start, columns.stop - columns.start];
    const { synthesis } = description.functions;
    const tile = await call(run, "synthesis", synthesis, [seen, rung], sides);
    keep(rgb, height, width, tile.data, rows, columns);
  }
  return rgb;
}

/** Place on the model's ladder of lambdas of a file's quality. */
export function rungOf(quality, config) {
  if (!config.qualities) return 0;
  const [low, high] = config.qualities;
  const share = Math.min(quality / QUALITY_STEPS / (high - low), 1);
  return share * (config.lambdas.length - 1);
}

/** Of latents [1, h, w, c], the positions that a tile sees. */
function cut(latent, rows, columns, paddedHeight) {
  const [, height, width, channels] = latent.shape;
  const stride = paddedHeight / height;
  const [top, bottom, left, right] = [rows.start, rows.stop, columns.start, columns.stop].map(
    (side) => side / stride,
  );
  const line = (right - left) * channels;
  const data = new latent.data.constructor((bottom - top) * line);
  for (let y = top; y < bottom; y++) {
    const first = (y * width + left) * channels;
    data.set(latent.data.subarray(first, first + line), (y - top) * line);
  }
  return { data, shape: [1, bottom - top, right - left, channels] };
}

/** Copies what is kept of a tile to its place in the picture; what lies beyond it is cut. */
function keep(rgb, height, width, tile, rows, columns) {
  const seen = 3 * (columns.stop - columns.start);
  const last = Math.min(columns.last, width);
  for (let y = rows.first; y < Math.min(rows.last, height); y++) {
    const line = (y - rows.start) * seen;
    const [from, to] = [columns.first, last].map((x) => line + 3 * (x - columns.start));
    rgb.set(tile.subarray(from, to), 3 * (y * width + columns.first));
  }
}

/** Of a gray file the three channels estimate one value. */
function toGray(rgb) {
  const at = (k) => Math.floor((rgb[3 * k] + rgb[3 * k + 1] + rgb[3 * k + 2] + 1) / 3);
  return Uint8Array.from({ length: rgb.length / 3 }, (_, k) => at(k));
}

/** Color and alpha as pixels of as many channels as there are. */
function withAlpha(color, alpha, count) {
  const colors = color.length / count;
  if (!alpha) return { pixels: color, channels: colors };
  const channels = colors + 1;
  const pixels = new Uint8Array(count * channels);
  for (let k = 0; k < count; k++) {
    for (let c = 0; c < colors; c++) pixels[k * channels + c] = color[k * colors + c];
    pixels[k * channels + colors] = alpha[k];
  }
  return { pixels, channels };
}

function nextMultiple(side, stride) {
  return Math.ceil(side / stride) * stride;
}

// ------------------------------------------------------- structures, as litert.json describes them

/** Runs a network on structures of arrays; gives the structure of its results. */
async function call(run, name, { inputs, outputs }, structures, padded) {
  const arrays = [];
  zipLeaves(inputs, structures, (place, array) => (arrays[place] = array));
  const results = await run(name, arrays, padded);
  // -1 - k is input k, which the network hands on.
  return mapLeaves(outputs, (place) => (place < 0 ? arrays[-1 - place] : results[place]));
}

function isLeaf(value) {
  return typeof value !== "object" || value === null || ArrayBuffer.isView(value.data);
}

function mapLeaves(structure, change) {
  if (isLeaf(structure)) return change(structure);
  if (Array.isArray(structure)) return structure.map((each) => mapLeaves(each, change));
  const entries = Object.entries(structure);
  return Object.fromEntries(entries.map(([key, each]) => [key, mapLeaves(each, change)]));
}

function zipLeaves(places, structure, visit) {
  if (isLeaf(places)) visit(places, structure);
  else for (const key of Object.keys(places)) zipLeaves(places[key], structure[key], visit);
}
