// PNG files of 8 bits, the few kinds that are needed: pictures out, the alpha part in.
// (https://www.w3.org/TR/png-3/)

import { crc32, hex, quoted } from "./bytes.js";
import { ContainerError } from "./errors.js";

const SIGNATURE = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];
const COLOR_TYPES = { 1: 0, 2: 4, 3: 2, 4: 6 }; // by channels: gray, gray and alpha, RGB, RGBA
const PAETH = 4;

/**
 * A picture as a PNG file.
 *
 * @param {Uint8Array} pixels [height, width, channels]
 * @returns {Promise<Blob>}
 */
export async function toPng(pixels, height, width, channels) {
  const lines = filtered(pixels, height, width * channels, channels);
  const packed = new Blob([lines]).stream().pipeThrough(new CompressionStream("deflate"));
  const data = new Uint8Array(await new Response(packed).arrayBuffer());
  const header = ihdr(height, width, COLOR_TYPES[channels]);
  const chunks = [chunk("IHDR", header), chunk("IDAT", data), chunk("IEND", new Uint8Array())];
  return new Blob([Uint8Array.from(SIGNATURE), ...chunks.flat()], { type: "image/png" });
}

/**
 * Alpha [height, width] from the alpha part of a file, which may be hostile: one 8-bit gray PNG of
 * exactly this size, of the chunks IHDR, IDAT and IEND alone.
 *
 * @throws {ContainerError} naming `name`, for anything else
 */
export async function alphaFromPng(data, height, width, name) {
  const where = `${name}: the alpha part`;
  const packed = [];
  let header = null;
  for (const [kind, body] of chunksOf(data, where)) {
    if ((kind === "IHDR") !== (header === null) || !["IHDR", "IDAT", "IEND"].includes(kind)) {
      const shown = quoted(Array.from(kind, (character) => character.charCodeAt(0)));
      throw new ContainerError(`${where} holds an unexpected chunk ${shown}`);
    }
    header ??= body;
    if (kind === "IDAT") packed.push(body);
  }
  const expected = ihdr(height, width, COLOR_TYPES[1]);
  if (header.length !== expected.length || header.some((byte, k) => byte !== expected[k])) {
    throw new ContainerError(`${where} is not an 8-bit gray PNG of ${width}x${height}`);
  }
  return unfiltered(await inflate(packed, height * (width + 1), where), height, width, where);
}

function ihdr(height, width, colorType) {
  const header = new DataView(new ArrayBuffer(13));
  header.setUint32(0, width);
  header.setUint32(4, height);
  header.setUint8(8, 8); // bits
  header.setUint8(9, colorType);
  return new Uint8Array(header.buffer);
}

/** The parts of a chunk, to be written one after the other. */
function chunk(kind, body) {
  const name = Uint8Array.from(kind, (character) => character.charCodeAt(0));
  const [size, sum] = [new DataView(new ArrayBuffer(4)), new DataView(new ArrayBuffer(4))];
  size.setUint32(0, body.length);
  sum.setUint32(0, crc32(name, body));
  return [size, name, body, sum];
}

/** [kind, body] of each chunk, sums checked; the file must end after IEND. */
function* chunksOf(data, where) {
  if (SIGNATURE.some((byte, k) => data[k] !== byte)) {
    throw new ContainerError(`${where} is not a PNG`);
  }
  const view = new DataView(data.buffer, data.byteOffset, data.length);
  let [at, kind] = [SIGNATURE.length, ""];
  while (kind !== "IEND") {
    if (data.length - at < 12) throw new ContainerError(`${where} is truncated`);
    const size = view.getUint32(at);
    const end = at + 12 + size;
    if (end > data.length) {
      throw new ContainerError(
        `${where} is truncated: a chunk needs ${size} bytes, ${data.length - at - 12} remain`,
      );
    }
    const name = data.subarray(at + 4, at + 8);
    kind = String.fromCharCode(...name);
    if (crc32(data.subarray(at + 4, end - 4)) !== view.getUint32(end - 4)) {
      throw new ContainerError(`${where} is damaged: wrong checksum of chunk ${quoted(name)}`);
    }
    yield [kind, data.subarray(at + 8, end - 4)];
    at = end;
  }
  if (at !== data.length) {
    throw new ContainerError(`${where} is followed by ${data.length - at} unexpected bytes`);
  }
}

/** What a zlib stream of these parts inflates to, if it is `size` bytes; never holds many more. */
async function inflate(parts, size, where) {
  const lines = new Uint8Array(size);
  let filled = 0;
  const fail = (why) => {
    throw new ContainerError(`${where} cannot be decoded (${why})`);
  };
  const reader = new Blob(parts)
    .stream()
    .pipeThrough(new DecompressionStream("deflate"))
    .getReader();
  for (;;) {
    const { done, value } = await reader.read().catch((error) => fail(error.message));
    if (done) break;
    if (filled + value.length > size) {
      reader.cancel().catch(() => {});
      fail("more pixels than its size says");
    }
    lines.set(value, filled);
    filled += value.length;
  }
  if (filled < size) fail(`${filled} of ${size} bytes`);
  return lines;
}

/** Lines [height, 1 + length], each of a filter and what it left of the line's bytes. */
function filtered(pixels, height, length, step) {
  const lines = new Uint8Array(height * (length + 1));
  for (let y = 0; y < height; y++) {
    const [from, to] = [y * length, y * (length + 1) + 1];
    lines[to - 1] = PAETH;
    for (let x = 0; x < length; x++) {
      const left = x >= step ? pixels[from + x - step] : 0;
      const above = y ? pixels[from + x - length] : 0;
      const corner = y && x >= step ? pixels[from + x - length - step] : 0;
      lines[to + x] = pixels[from + x] - paeth(left, above, corner);
    }
  }
  return lines;
}

const PREDICTORS = [() => 0, (left) => left, (left, above) => above, mean, paeth]; // by filter

/** The reverse, of one byte a pixel. */
function unfiltered(lines, height, width, where) {
  const pixels = new Uint8Array(height * width);
  for (let y = 0; y < height; y++) {
    const [from, to] = [y * (width + 1) + 1, y * width];
    const predict = PREDICTORS[lines[from - 1]];
    if (!predict) {
      const filter = `0x${hex(lines[from - 1], 2)}`;
      throw new ContainerError(`${where} cannot be decoded (there is no filter ${filter})`);
    }
    for (let x = 0; x < width; x++) {
      const left = x ? pixels[to + x - 1] : 0;
      const above = y ? pixels[to + x - width] : 0;
      const corner = x && y ? pixels[to + x - width - 1] : 0;
      pixels[to + x] = lines[from + x] + predict(left, above, corner);
    }
  }
  return pixels;
}

function mean(left, above) {
  return (left + above) >> 1;
}

/** Of the three, the one next to left + above - corner. */
function paeth(left, above, corner) {
  const [toLeft, toAbove] = [Math.abs(above - corner), Math.abs(left - corner)];
  const toCorner = Math.abs(left + above - 2 * corner);
  if (toLeft <= toAbove && toLeft <= toCorner) return left;
  return toAbove <= toCorner ? above : corner;
}
