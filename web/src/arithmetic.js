// TensorFlow Compression's range decoder, as tfcodec/coding/arithmetic.py describes it: a stream
// is one long number, words of 16 bits, and each symbol takes its part of the interval in which it
// lies.
//
// All numbers are integers below 2^49, which are exact in JavaScript's; operations on bits would
// cut them to 32. A quotient of two is rounded to 53 bits, and is no integer unless the true one
// is: it is below 2^16, and fractions of denominators up to 2^32 stay away from integers by 2^-32.

import { ContainerError, ModelError } from "./errors.js";

const WHOLE = 2 ** 32;
const WORD = 2 ** 16;

/** The words of a stream; past its end are zeros. */
class Stream {
  constructor(bytes) {
    this.bytes = bytes;
    this.at = 0;
    this.size = WHOLE;
    this.offset = this.nextWord() * WORD + this.nextWord();
  }

  nextWord() {
    const { bytes, at } = this;
    this.at += 2;
    return at < bytes.length ? bytes[at] * 256 + (bytes[at + 1] ?? 0) : 0;
  }

  /** The entry that comes next, of the row whose 0 is at `start` in `lookup`. */
  next(lookup, start, entries) {
    // The largest share that lies at or below the offset, and the last entry that begins there.
    const share = Math.floor((this.offset * WORD + (WORD - 1)) / this.size);
    let [low, high] = [start, start + entries];
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (lookup[middle] <= share) low = middle;
      else high = middle;
    }
    const below = Math.floor((this.size * lookup[low]) / WORD);
    this.size = Math.floor((this.size * lookup[low + 1]) / WORD) - below;
    this.offset -= below;
    if (this.size <= WORD) {
      this.offset = this.offset * WORD + this.nextWord();
      this.size *= WORD;
    }
    return low - start;
  }
}

/**
 * Decodes a picture step by step: the symbols of a step go to the streams in turn.
 *
 * Encoders fill a step up with certain symbols, for intervals of 2^16 to grow. Here they grow with
 * the next symbol: it takes the same part of 2^16 as of 2^32 with a word behind.
 */
export class RangeDecoder {
  /**
   * @param {CodingTables} tables of the model
   * @param {Uint8Array[]} streams of the file
   * @param {number[]} escapes of the file
   * @param {string} name what to call the file in an error
   */
  constructor(tables, streams, escapes, name) {
    Object.assign(this, { tables, escapes, name });
    this.streams = streams.map((bytes) => new Stream(bytes));
    this.usedEscapes = 0;
  }

  /**
   * The next step.
   *
   * @param {number} count of its symbols
   * @param {(i: number) => number} rowOf the row of each symbol
   * @returns {{symbols: Int32Array, bits: number}} bits that the tables charge for the symbols
   * @throws {ContainerError} if the escapes run out
   * @throws {ModelError} for a row that the tables do not have
   */
  read(count, rowOf) {
    const { lookup, starts, sizes, offsets, rows } = this.tables;
    const symbols = new Int32Array(count);
    const escaped = [];
    let bits = 0;
    for (let i = 0; i < count; i++) {
      const row = rowOf(i);
      if (!(row >= 1 && row < rows)) {
        throw new ModelError(`${this.name}: the model computes otherwise here: table ${row}`);
      }
      const stream = this.streams[i % this.streams.length];
      const entry = stream.next(lookup, starts[row], sizes[row]);
      const place = starts[row] + entry;
      bits += 16 - Math.log2(lookup[place + 1] - lookup[place]);
      symbols[i] = offsets[row] + entry;
      if (entry === sizes[row] - 1) escaped.push(i);
    }
    this.fillEscapes(symbols, escaped);
    return { symbols, bits };
  }

  /** Puts the next escapes of the file at these places. */
  fillEscapes(symbols, places) {
    const remaining = this.escapes.length - this.usedEscapes;
    if (places.length > remaining) {
      throw new ContainerError(
        `${this.name}: decoding needs ${places.length} more escapes, ${remaining} remain; ` +
          "damaged, or decoded with other weights?",
      );
    }
    for (const place of places) symbols[place] = this.escapes[this.usedEscapes++];
  }

  /** Throws ContainerError if escapes are left over. */
  finish() {
    const left = this.escapes.length - this.usedEscapes;
    if (left) {
      throw new ContainerError(
        `${this.name}: ${left} of ${this.escapes.length} escapes left over; ` +
          "damaged, or decoded with other weights?",
      );
    }
  }
}
