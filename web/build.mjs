// Builds the page, ../docs/view.html, and the folder ../docs/view beside it: LiteRT's files and
// models.
//
//     npm run build -- FOLDER ...    folders that `tfcodec export MODEL --litert -o FOLDER` wrote
//
// Without a folder, models that are there stay. `--page FILE` builds the page alone, elsewhere.

import { cp, mkdir, readFile, readdir, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { parseArgs } from "node:util";

import { build } from "esbuild";

const here = import.meta.dirname;
const docs = path.join(here, "..", "docs");
const folder = path.join(docs, "view");
// What decodes; the encoder's networks stay behind.
const DECODER = /^(config\.json|litert\.json|LICENSE|.*\.bin|(step\d+|finish|synthesis)\.tflite)$/;
// Without threads, which need headers that a static host does not send; `compat` is for browsers
// without relaxed SIMD.
const RUNTIME = /^litert_wasm_(compat_)?internal\.(js|wasm)$/;
const NOTICE = "/*! With @litertjs/core, Copyright 2025 Google LLC, Apache License 2.0. */";

async function bundle(entry, plugins = []) {
  const { outputFiles } = await build({
    entryPoints: [path.join(here, "src", entry)],
    bundle: true,
    minify: true,
    format: "iife",
    target: "es2022",
    charset: "utf8",
    write: false,
    logLevel: "error",
    plugins,
  });
  return outputFiles[0].text.trim();
}

/** Gives the worker's bundled source where the page imports it. */
function inlined(source) {
  return {
    name: "inlined",
    setup(build) {
      build.onLoad({ filter: /src.worker\.js$/ }, () => ({ contents: source, loader: "text" }));
    },
  };
}

/** The whole page, one file. */
async function page() {
  const worker = `${NOTICE}\n${await bundle("worker.js")}`;
  const parts = {
    "/* view.css */": await bundle("view.css"),
    // A script inside a page ends where its text says so.
    "/* view.js */": (await bundle("view.js", [inlined(worker)])).replaceAll(
      "</script",
      "<\\/script",
    ),
  };
  const source = await readFile(path.join(here, "src", "view.html"), "utf8");
  return Object.entries(parts).reduce(
    (text, [mark, part]) => text.replace(mark, () => part),
    source,
  );
}

async function copyMatching(from, to, pattern) {
  await rm(to, { recursive: true, force: true });
  await mkdir(to, { recursive: true });
  for (const file of await readdir(from)) {
    if (pattern.test(file)) await cp(path.join(from, file), path.join(to, file));
  }
}

/** Copies models, and lists them by their fingerprints. */
async function copyModels(exports) {
  const index = {};
  for (const from of exports) {
    const read = async (file) => JSON.parse(await readFile(path.join(from, file), "utf8"));
    const [config, description] = [await read("config.json"), await read("litert.json")];
    if (!description.strides) {
      throw new Error(`${from}: was exported by an older release; export it again`);
    }
    await copyMatching(from, path.join(folder, "models", config.name), DECODER);
    index[config.fingerprint] = config.name;
  }
  await writeFile(path.join(folder, "models", "index.json"), `${JSON.stringify(index, null, 1)}\n`);
}

const { values, positionals } = parseArgs({
  options: { page: { type: "string" } },
  allowPositionals: true,
});
await writeFile(values.page ?? path.join(docs, "view.html"), await page());
if (!values.page) {
  const litert = path.join(here, "node_modules", "@litertjs", "core", "wasm");
  await copyMatching(litert, path.join(folder, "runtime"), RUNTIME);
  if (positionals.length) {
    await rm(path.join(folder, "models"), { recursive: true, force: true });
    // Where `npm run --prefix web` was called: it runs this here.
    const called = process.env.INIT_CWD ?? process.cwd();
    await copyModels(positionals.map((each) => path.resolve(called, each)));
  }
}
