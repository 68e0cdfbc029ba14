// The models beside the page, each a folder as `tfcodec export --litert` writes it.

import { ModelError } from "./errors.js";
import { CodingTables } from "./tables.js";

const TABLES = ["lookup", "offsets", "sizes"];

/** The models of a folder with an index.json, {fingerprint: folder}. */
export class Models {
  /** @param {string} address of the folder, with a slash at its end */
  constructor(address) {
    this.address = address;
    this.open = new Map();
  }

  /**
   * The model of a fingerprint; opened once.
   *
   * @param {string} name what to call the file in an error
   * @param {(bytes: number) => void} progress called with the bytes of each part that arrives
   * @throws {ModelError} if there is none, or it cannot be read
   */
  async find(fingerprint, name, progress) {
    if (!this.open.has(fingerprint)) {
      const index = await readJson(`${this.address}index.json`);
      if (!index[fingerprint]) {
        const known = Object.entries(index).map(([print, folder]) => `${folder} (${print})`);
        throw new ModelError(
          `${name}: was written by the model with fingerprint ${fingerprint}, ` +
            `which this page does not have; it has ${known.join(", ") || "none"}`,
        );
      }
      const folder = new Folder(`${this.address}${index[fingerprint]}/`, progress);
      this.open.set(fingerprint, await openModel(folder));
    }
    return this.open.get(fingerprint);
  }
}

/** A model's folder; files stay in memory, so that the next picture needs no network. */
class Folder {
  constructor(address, progress) {
    Object.assign(this, { address, progress, files: new Map(), sums: {} });
  }

  /** A copy of a file, which may be changed; compared with its SHA-256 if `sums` has it. */
  async read(file) {
    const bytes = await this.load(file);
    return bytes.slice();
  }

  /** Begins to read a file, if that was not done. */
  load(file) {
    if (!this.files.has(file)) {
      const integrity = this.sums[file] ? `sha256-${toBase64(this.sums[file])}` : "";
      this.files.set(file, readBytes(this.address + file, integrity, this.progress));
    }
    return this.files.get(file);
  }

  async readJson(file) {
    return JSON.parse(new TextDecoder().decode(await this.read(file)));
  }
}

/** {config, description, tables, read}: config.json, litert.json, the tables, and its files. */
async function openModel(folder) {
  const [config, description] = [
    await folder.readJson("config.json"),
    await folder.readJson("litert.json"),
  ];
  folder.sums = description.sha256;
  const tables = [];
  for (const table of TABLES) {
    const bytes = await folder.read(`${table}.bin`);
    tables.push(new Int32Array(bytes.buffer)); // little-endian, as all that runs browsers
  }
  // What is needed later arrives while the first steps are computed.
  const networks = [...config.steps.map((_, k) => `step${k}`), "finish", "synthesis"];
  for (const network of networks) folder.load(`${network}.tflite`).catch(() => {});
  const read = (file) => folder.read(file);
  return { config, description, tables: new CodingTables(...tables), read };
}

async function readJson(address) {
  return JSON.parse(new TextDecoder().decode(await readBytes(address, "", () => {})));
}

/** The bytes of an address. Throws ModelError if it cannot be read, or is not what it should be. */
async function readBytes(address, integrity, progress) {
  let response;
  try {
    response = await fetch(address, { integrity });
  } catch {
    const cure = address.startsWith("file:")
      ? "a page that is opened as a file may not read others; serve the folder, for example by " +
        "`python3 -m http.server`"
      : "is it there, and what was exported?";
    throw new ModelError(`${address}: cannot be read; ${cure}`);
  }
  if (!response.ok) {
    throw new ModelError(`${address}: cannot be read (${response.status}); was the page built?`);
  }
  const bytes = new Uint8Array(await response.arrayBuffer());
  progress(bytes.length);
  return bytes;
}

function toBase64(hexadecimal) {
  const bytes = hexadecimal.match(/../g).map((byte) => parseInt(byte, 16));
  return btoa(String.fromCharCode(...bytes));
}
