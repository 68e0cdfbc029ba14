// The page: takes a file, has the worker decode it, shows what comes back.

import { QUALITY_STEPS } from "./format.js";
import WORKER from "./worker.js"; // its bundled source, see build.mjs

const element = (id) => document.getElementById(id);
const base = new URL("view/", location.href).href; // the folder of runtime and models
const workerAddress = URL.createObjectURL(new Blob([WORKER], { type: "text/javascript" }));

let worker = null;
let job = 0; // the last one that was asked for; answers of others come too late
let shown = null; // address of the PNG on the page

element("file").addEventListener("change", ({ target }) => {
  if (target.files.length) open(target.files[0]);
  target.value = ""; // the same file can be opened again
});

for (const kind of ["dragenter", "dragover"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    document.body.classList.add("dragged");
  });
}

for (const kind of ["dragleave", "drop"]) {
  document.addEventListener(kind, () => document.body.classList.remove("dragged"));
}

document.addEventListener("drop", (event) => {
  event.preventDefault();
  const [file] = event.dataTransfer.files;
  if (file) open(file);
});

/** Has a file decoded; what was asked for before is given up. */
function open(file) {
  if (job && !element("status").hidden) discardWorker();
  worker ??= startWorker();
  job += 1;
  element("error").hidden = true;
  element("result").hidden = true;
  say("reading");
  worker.postMessage({ job, file, name: file.name, base });
}

function startWorker() {
  const started = new Worker(workerAddress);
  started.onmessage = ({ data }) => {
    if (data.job !== job) return;
    if (data.progress) return say(data.progress);
    element("status").hidden = true;
    if (data.broken) discardWorker();
    if (data.error) fail(data.error);
    else show(data.decoded);
  };
  started.onerror = (event) => {
    element("status").hidden = true;
    discardWorker();
    fail(`the decoder cannot be started here (${event.message})`);
  };
  return started;
}

/** Ends the worker, and with it its memory; the next file gets another. */
function discardWorker() {
  worker?.terminate();
  worker = null;
}

function say(what) {
  element("status").textContent = `Decoding: ${what} …`;
  element("status").hidden = false;
}

function fail(sentence) {
  element("error").textContent = sentence;
  element("error").hidden = false;
}

const COLORS = { 1: "gray", 2: "gray with alpha", 3: "RGB", 4: "RGB with alpha" };
const SMALL_SIDE = 64; // pixels of a picture that is shown enlarged

function show(decoded) {
  const { height, width, bytes, png, name } = decoded;
  if (shown) URL.revokeObjectURL(shown);
  shown = URL.createObjectURL(png);
  element("picture").src = shown;
  element("picture").classList.toggle("small", Math.max(height, width) <= SMALL_SIDE);
  element("title").textContent = name;
  element("save").href = shown;
  element("save").download = `${name.replace(/\.tfcd$/i, "")}.png`;
  const pixels = height * width;
  facts(element("sizes"), {
    picture: `${width} × ${height}, ${COLORS[decoded.channels]}`,
    file: `${number(bytes)} bytes, ${((8 * bytes) / pixels).toFixed(3)} bpp`,
    PNG: `${number(png.size)} bytes, ${(png.size / bytes).toFixed(1)} times the file`,
    model: `${decoded.model}, quality ${quality(decoded.quality)}`,
    symbols: `${number(sum(decoded.steps.map((step) => step.symbols)))} in ${lanes(decoded.lanes)}`,
    checks: "CRC-32, symbols' checksum",
    decoded: `in ${decoded.seconds.toFixed(2)} s`,
  });
  element("parts").replaceChildren(
    ...partsOf(decoded).map(([part, bits]) => row(part, bits, bytes)),
  );
  element("result").hidden = false;
}

/** [part, bits] of all that a file holds; of the payload, what the tables charged for each step. */
function partsOf({ steps, sizes }) {
  const { payload, ...others } = sizes;
  const count = {};
  const coded = steps.map(({ name, bits }) => {
    const several = steps.filter((step) => step.name === name).length > 1;
    count[name] = (count[name] ?? 0) + 1;
    return [several ? `${name}, step ${count[name]}` : name, bits];
  });
  const rest = 8 * payload - sum(steps.map((step) => step.bits));
  const kept = Object.entries(others).map(([part, bytes]) => [part, 8 * bytes]);
  return [...coded, ["ends of lanes", rest], ...kept];
}

function row(part, bits, bytes) {
  const share = (100 * bits) / (8 * bytes);
  const line = document.createElement("tr");
  line.style.setProperty("--share", `${Math.max(share, 0)}%`);
  const head = document.createElement("th");
  head.scope = "row";
  head.textContent = part;
  const cells = [number(Math.round(bits)), `${share.toFixed(1)} %`].map((text) => {
    const cell = document.createElement("td");
    cell.textContent = text;
    return cell;
  });
  line.append(head, ...cells);
  return line;
}

function facts(list, entries) {
  const items = Object.entries(entries).flatMap(([term, value]) =>
    Object.entries({ dt: term, dd: value }).map(([tag, text]) => {
      const item = document.createElement(tag);
      item.textContent = text;
      return item;
    }),
  );
  list.replaceChildren(...items);
}

function lanes(count) {
  return count === 1 ? "one lane" : `${count} lanes`;
}

/** The quality from 1 to 8 that a file's byte stands for. */
function quality(byte) {
  return Number((1 + byte / QUALITY_STEPS).toFixed(2));
}

function number(value) {
  return value.toLocaleString("en").replaceAll(",", "\u202f");
}

function sum(values) {
  return values.reduce((a, b) => a + b, 0);
}
