// Decodes files beside the page, which goes on answering meanwhile. Takes {job, file, name, base};
// answers {job, progress}, and at the end {job, decoded} or {job, error}, the sentence of what is
// wrong. After an error that is not the file's the worker shall be thrown away, `broken`.

import { decode } from "./codec.js";
import { unpack } from "./container.js";
import { ContainerError, ModelError } from "./errors.js";
import { MAGIC, MAX_BYTES_PER_PIXEL, SPARE_BYTES } from "./format.js";
import { Models } from "./model.js";
import { openRuntime, run } from "./networks.js";
import { toPng } from "./png.js";

// A browser gives WebAssembly 4 GiB at most, and the walk sees the whole picture.
const MAX_PIXELS = 2 ** 25;

let models;

self.onmessage = async ({ data: { job, file, name, base } }) => {
  models ??= new Models(`${base}models/`);
  const progress = (what) => self.postMessage({ job, progress: what });
  try {
    const decoded = await open(file, name, base, progress);
    self.postMessage({ job, decoded });
  } catch (error) {
    const expected = error instanceof ContainerError || error instanceof ModelError;
    const sentence = expected ? error.message : `${name}: cannot be decoded here (${error})`;
    self.postMessage({ job, error: sentence, broken: !(error instanceof ContainerError) });
  }
};

/** The picture of a file as a PNG, and all that the page says of it. */
async function open(file, name, base, progress) {
  const data = await read(file, name);
  const container = unpack(data, name, MAX_PIXELS);
  let bytes = 0;
  const model = await models.find(container.fingerprint, name, (more) => {
    bytes += more;
    progress(`model, ${(bytes / 1e6).toFixed(1)} MB`);
  });
  progress("runtime");
  await openRuntime(`${base}runtime/`);
  const start = performance.now();
  const running = (...what) => run(model, ...what);
  const { pixels, channels, steps } = await decode(container, model, running, name, progress);
  const seconds = (performance.now() - start) / 1000;
  progress("PNG");
  const png = await toPng(pixels, container.height, container.width, channels);
  const { height, width, quality, sizes, checksum, streams } = container;
  return {
    height,
    width,
    quality,
    sizes,
    checksum,
    channels,
    steps,
    seconds,
    png,
    name,
    lanes: streams.length,
    model: model.config.name,
    bytes: data.length,
  };
}

/** The bytes of a file; of what cannot be sound, enough to say so. */
async function read(file, name) {
  const start = new Uint8Array(await file.slice(0, MAGIC.length).arrayBuffer());
  if (start.length < MAGIC.length || start.some((byte, k) => byte !== MAGIC[k])) return start;
  if (file.size > MAX_BYTES_PER_PIXEL * MAX_PIXELS + SPARE_BYTES) {
    throw new ContainerError(`${name}: is larger than any sound file of ${MAX_PIXELS} pixels`);
  }
  return new Uint8Array(await file.arrayBuffer());
}
