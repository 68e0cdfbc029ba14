// The `.tfcd` file, as tfcodec/coding/container.py reads it: the same checks in the same order,
// with the same sentences. Files are read as if they were hostile: lengths are compared with the
// bytes at hand, the CRC comes before any meaning, and nothing is allocated for a size that is only
// claimed.

import { Reader, crc32, hex, quoted, unzigzag } from "./bytes.js";
import { ContainerError } from "./errors.js";
import {
  CHECKSUM_MIX,
  DEFAULT_MAX_PIXELS,
  MAGIC,
  MAX_BYTES_PER_PIXEL,
  MAX_LANES,
  MAX_METADATA,
  MAX_QUOTIENT,
  MAX_RICE,
  MAX_SYMBOL,
  PADDED_SIDE,
  RANGE_CODER,
  SMALL_PIXELS,
  SPARE_BYTES,
  TFC,
  VERSION,
} from "./format.js";

const GRAY = 1;
const PARTS = { escapes: 4, alpha: 2, metadata: 8 }; // flags, in the order of the parts
const ALL_FLAGS = 15;
const TAIL_BYTES = 8;

/**
 * The fields of a file.
 *
 * @param {Uint8Array} data all bytes of the file
 * @param {string} name what to call it in an error
 * @param {number} maxPixels largest picture to accept
 * @returns an object of the fields of `Container` in Python; `sizes` are the bytes of each part
 * @throws {ContainerError} unless the bytes are a sound file
 */
export function unpack(data, name = "input", maxPixels = DEFAULT_MAX_PIXELS) {
  const layout = readLayout(data, name);
  const { height, width, parts } = layout;
  const excess = exceeds(height, width, maxPixels);
  if (excess) throw new ContainerError(`${name}: claims ${excess}`);
  if (data.length > MAX_BYTES_PER_PIXEL * paddedPixels(height, width) + SPARE_BYTES) {
    throw new ContainerError(
      `${name}: has ${data.length} bytes, more than any sound file of ${width}x${height} pixels`,
    );
  }
  const lanes = 2 ** layout.log2Lanes;
  if (lanes > MAX_LANES) {
    throw new ContainerError(`${name}: found ${lanes} lanes, expected at most ${MAX_LANES}`);
  }
  const container = {
    ...layout,
    gray: Boolean(layout.flags & GRAY),
    streams: lanes === 1 ? [parts.payload] : unpackLanes(parts.payload, lanes, name),
    escapes: parts.escapes ? unpackEscapes(parts.escapes, name) : [],
    alpha: parts.alpha ?? null,
    sizes: partSizes(data, parts),
  };
  checkMeaning(container, name);
  return container;
}

/** Why a picture of that size is beyond the limit: half a sentence, empty if it is not. */
function exceeds(height, width, maxPixels) {
  if (height * width > maxPixels) {
    return `${width}x${height} pixels, max_pixels allows ${maxPixels}`;
  }
  if (paddedPixels(height, width) > Math.max(maxPixels, SMALL_PIXELS)) {
    return (
      `${width}x${height} pixels, where a side takes as much work as ${PADDED_SIDE}; ` +
      `max_pixels allows ${maxPixels}`
    );
  }
  return "";
}

/** Pixels that a model may have to see. */
function paddedPixels(height, width) {
  return Math.max(height, PADDED_SIDE) * Math.max(width, PADDED_SIDE);
}

/** What a sound CRC can still be around: fields that mean nothing. */
function checkMeaning(container, name) {
  const { coder, height, width, streams, escapes, parts } = container;
  const refuse = (why) => {
    throw new ContainerError(`${name}: ${why}`);
  };
  if (height < 1 || width < 1) refuse(`a picture of ${width}x${height} pixels does not exist`);
  if (coder !== TFC && coder !== RANGE_CODER) {
    refuse(`this release knows the coders 0 and 1, got coder ${coder}`);
  }
  if (coder === RANGE_CODER && streams.length !== 1) {
    refuse(`the coder range-coder has one lane, got ${streams.length}`);
  }
  if (escapes.some((value) => Math.abs(value) > MAX_SYMBOL)) {
    const [least, most] = [Math.min, Math.max].map((f) => escapes.reduce((a, b) => f(a, b)));
    refuse(`escapes must be within +-${MAX_SYMBOL}, got ${least} to ${most}`);
  }
  if (parts.metadata?.length > MAX_METADATA) {
    refuse(`metadata have at most ${MAX_METADATA} bytes, got ${parts.metadata.length}`);
  }
}

/** A file cut into its parts; in the order that gives the clearest sentence: what it is, lengths,
 * CRC. */
function readLayout(data, name) {
  const reader = new Reader(data, name);
  checkKind(data, name);
  const head = reader.take("header", 13);
  const [profile, quality, flags, coderAndLanes] = head.subarray(9);
  if (flags > ALL_FLAGS) {
    throw new ContainerError(
      `${name}: has the flags 0x${hex(flags, 2)}, this release knows those up to 0x0f; ` +
        "damaged, or written by a newer release?",
    );
  }
  const [height, width] = [reader.varint("height"), reader.varint("width")];
  const names = ["payload", ...Object.keys(PARTS).filter((part) => flags & PARTS[part])];
  const lengths = names.map((part) => reader.varint(`${part} length`));
  const parts = Object.fromEntries(names.map((part, k) => [part, reader.take(part, lengths[k])]));
  const tail = new Reader(reader.take("checksums", TAIL_BYTES), name);
  const [checksum, crc] = [tail.uint32(), tail.uint32()];
  reader.finish();
  const actual = crc32(data.subarray(0, data.length - 4));
  if (crc !== actual) {
    throw new ContainerError(
      `${name}: damaged, its CRC-32 is ${hex(actual, 8)} and should be ${hex(crc, 8)}`,
    );
  }
  const fingerprint = Array.from(head.subarray(5, 9), (byte) => hex(byte, 2)).join("");
  const [coder, log2Lanes] = [coderAndLanes >> 4, coderAndLanes & 15];
  return {
    fingerprint,
    profile,
    quality,
    flags,
    coder,
    log2Lanes,
    height,
    width,
    parts,
    checksum,
  };
}

/** Throws ContainerError unless a file begins as ours do. */
function checkKind(data, name) {
  if (!data.length) throw new ContainerError(`${name}: the file is empty`);
  const start = data.subarray(0, MAGIC.length);
  if (start.some((byte, k) => byte !== MAGIC[k])) {
    throw new ContainerError(
      `${name}: not a tfcodec file, it begins with ${quoted(start)}, expected ${quoted(MAGIC)}`,
    );
  }
  if (data.length > MAGIC.length && data[MAGIC.length] !== VERSION) {
    throw new ContainerError(
      `${name}: has format version ${data[MAGIC.length]}, this release reads version ${VERSION}`,
    );
  }
}

/** Bytes of each part of a file: header, payload, optional parts if any, checksums. */
function partSizes(data, parts) {
  const sizes = Object.entries(parts).map(([part, content]) => [part, content.length]);
  const inside = sizes.reduce((sum, [, size]) => sum + size, 0);
  const header = data.length - inside - TAIL_BYTES;
  return { header, ...Object.fromEntries(sizes), checksums: TAIL_BYTES };
}

function unpackEscapes(data, name) {
  const reader = new Reader(data, name);
  const count = reader.varint("number of escapes");
  // Each takes a byte or more.
  if (count < 1 || count > reader.remaining) {
    throw new ContainerError(
      `${name}: claims ${count} escapes in ${reader.remaining} bytes; damaged?`,
    );
  }
  const escapes = Array.from({ length: count }, () => unzigzag(reader.varint("an escape")));
  reader.finish("the escapes");
  return escapes;
}

/** Bits of bytes, from the top, and where the next one is. */
class Bits {
  constructor(data) {
    this.data = data;
    this.at = 0;
  }

  get remaining() {
    return 8 * this.data.length - this.at;
  }

  next() {
    const bit = (this.data[this.at >> 3] >> (7 - (this.at & 7))) & 1;
    this.at += 1;
    return bit;
  }

  /** A number of so many bits. */
  number(count) {
    let value = 0;
    for (let k = 0; k < count; k++) value = 2 * value + this.next();
    return value;
  }
}

/** The streams behind the table of their lengths, Rice codes of their distance from the mean. */
function unpackLanes(payload, lanes, name) {
  const reader = new Reader(payload, name);
  const [k] = reader.take("lane lengths", 1);
  if (k > MAX_RICE) {
    throw new ContainerError(
      `${name}: found the Rice parameter ${k}, expected at most ${MAX_RICE}`,
    );
  }
  const mean = reader.varint("mean length of the lanes");
  const longest = Math.ceil((lanes * (MAX_QUOTIENT + 1 + k)) / 8);
  const bits = new Bits(payload.subarray(reader.at, reader.at + longest));
  const lengths = Array.from({ length: lanes }, () => {
    const code = riceCode(bits, k);
    if (code === null) {
      throw new ContainerError(`${name}: the lengths of its ${lanes} lanes are malformed`);
    }
    return mean + unzigzag(code);
  });
  const tableBytes = Math.ceil(bits.at / 8);
  if (bits.number(8 * tableBytes - bits.at)) {
    throw new ContainerError(`${name}: the lengths of its ${lanes} lanes do not end in zero bits`);
  }
  reader.take("lane lengths", tableBytes);
  const sum = lengths.reduce((a, b) => a + b, 0);
  if (Math.min(...lengths) < 0 || sum !== reader.remaining) {
    throw new ContainerError(
      `${name}: its ${lanes} lanes claim ${sum} bytes, ${reader.remaining} are there`,
    );
  }
  return lengths.map((length) => reader.take("lane", length));
}

/** A number v of `v >> k` ones, a zero and k low bits; null if there is none. */
function riceCode(bits, k) {
  let quotient = 0;
  for (;;) {
    if (!bits.remaining || quotient > MAX_QUOTIENT) return null;
    if (!bits.next()) break;
    quotient += 1;
  }
  return bits.remaining < k ? null : quotient * 2 ** k + bits.number(k);
}

/**
 * Sum of (symbol + 2^15) * w(i) mod 2^32 over all symbols, the i-th in coding order.
 *
 * @param {Int32Array[]} arrays the symbols of each step
 */
export function symbolsChecksum(arrays) {
  let [total, i] = [0, 0];
  for (const symbols of arrays) {
    for (let k = 0; k < symbols.length; k++, i++) {
      let x = Math.imul(i, CHECKSUM_MIX[0]);
      x = Math.imul(x ^ (x >>> 15), CHECKSUM_MIX[1]);
      total = (total + Math.imul(symbols[k] + 2 ** 15, (x ^ (x >>> 13)) | 1)) | 0;
    }
  }
  return total >>> 0;
}
