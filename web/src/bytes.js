// Bytes from the front, and the sums over them.

import { ContainerError } from "./errors.js";

const VARINT_BYTES = 5;

/** Takes bytes from the front and names the part that is missing. */
export class Reader {
  /**
   * @param {Uint8Array} data
   * @param {string} name what to call the file in an error
   */
  constructor(data, name) {
    this.data = data;
    this.name = name;
    this.at = 0;
  }

  get remaining() {
    return this.data.length - this.at;
  }

  /** The next bytes, without a copy. Throws ContainerError if there are fewer. */
  take(part, size) {
    if (size > this.remaining) {
      const verb = part.endsWith("s") ? "need" : "needs";
      throw new ContainerError(
        `${this.name}: ${part} ${verb} ${size} bytes, ${this.remaining} remain; ` +
          "is the file truncated?",
      );
    }
    this.at += size;
    return this.data.subarray(this.at - size, this.at);
  }

  /** Unsigned LEB128 below 2^35, which is more than operations on bits hold in JavaScript. */
  varint(part) {
    let value = 0;
    for (let k = 0; k < VARINT_BYTES; k++) {
      const [byte] = this.take(part, 1);
      value += (byte & 127) * 2 ** (7 * k);
      if (byte < 128) {
        if (byte === 0 && k > 0) {
          throw new ContainerError(`${this.name}: ${part} is not in its shortest form; damaged?`);
        }
        return value;
      }
    }
    throw new ContainerError(
      `${this.name}: ${part} is longer than ${VARINT_BYTES} bytes; damaged?`,
    );
  }

  /** A little-endian integer of 32 bits without a sign. */
  uint32(part) {
    const bytes = this.take(part, 4);
    return new DataView(bytes.buffer, bytes.byteOffset, 4).getUint32(0, true);
  }

  /** Throws ContainerError unless all bytes were taken. */
  finish(part = "the file") {
    if (this.remaining) {
      throw new ContainerError(
        `${this.name}: expected the end of ${part}, found more bytes: ${this.remaining}; ` +
          "was something appended?",
      );
    }
  }
}

/** 0, 1, 2, 3, ... to 0, -1, 1, -2, ... */
export function unzigzag(code) {
  return code % 2 ? -(code - 1) / 2 - 1 : code / 2;
}

/** Bytes as they would stand in a string of Python, which is how errors show them. */
export function quoted(bytes) {
  const text = String.fromCharCode(...bytes);
  const quote = text.includes("'") && !text.includes('"') ? '"' : "'";
  const escaped = { "\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r", [quote]: `\\${quote}` };
  const shown = Array.from(text, (character) => {
    const byte = character.charCodeAt(0);
    const plain = byte >= 32 && byte < 127 ? character : `\\x${hex(byte, 2)}`;
    return escaped[character] ?? plain;
  });
  return `b${quote}${shown.join("")}${quote}`;
}

/** Digits of base 16, at least so many. */
export function hex(number, digits) {
  return number.toString(16).padStart(digits, "0");
}

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
  return crc;
});

/** The CRC-32 of zlib and PNG. */
export function crc32(...parts) {
  let crc = 0xffffffff;
  for (const part of parts) {
    for (let k = 0; k < part.length; k++) crc = (crc >>> 8) ^ CRC_TABLE[(crc ^ part[k]) & 255];
  }
  return (crc ^ 0xffffffff) >>> 0;
}
