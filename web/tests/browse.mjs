// Opens files on the page in a headless Chromium, and says in JSON what the page shows of each:
//
//     node browse.mjs SETTINGS
//
// SETTINGS is JSON: `page`, its path; `files`; `out`, a folder for the PNGs; `chromium`, its path;
// `screenshots`, if wanted, [{file, width, height, dark}] to take to `out`.

import { createReadStream, existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import path from "node:path";

import { chromium } from "playwright-core";

const TYPES = { ".html": "text/html", ".js": "text/javascript", ".wasm": "application/wasm" };

/** Serves a folder over loopback, as any static host would. */
async function serve(folder) {
  const server = createServer(({ url }, response) => {
    const file = path.join(
      folder,
      path.normalize(decodeURIComponent(new URL(url, "http://h").pathname)),
    );
    if (!existsSync(file)) return response.writeHead(404).end();
    response.writeHead(200, {
      "content-type": TYPES[path.extname(file)] ?? "application/octet-stream",
    });
    createReadStream(file).pipe(response);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return server;
}

/** Largest resident memory of the browser's processes that render pages, MB. */
function rendererMegabytes() {
  const peaks = readdirSync("/proc")
    .filter((entry) => /^\d+$/.test(entry))
    .map((entry) => {
      try {
        if (!readFileSync(`/proc/${entry}/cmdline`, "utf8").includes("--type=renderer")) return 0;
        return Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${entry}/status`, "utf8"))[1]);
      } catch {
        return 0; // it has ended
      }
    });
  return Math.round(Math.max(...peaks) / 1000);
}

/** What stands on the page after a file, once it is decoded or refused. */
async function outcome(page) {
  const done = page.locator("#result:not([hidden]), #error:not([hidden])");
  await done.first().waitFor({ timeout: 900_000 });
  if (await page.locator("#error").isVisible()) {
    return { error: await page.locator("#error").innerText() };
  }
  const facts = await page.evaluate(() => {
    const text = (each) => each.textContent;
    const terms = [...document.querySelectorAll("#sizes dt")].map(text);
    const values = [...document.querySelectorAll("#sizes dd")].map(text);
    const rows = [...document.querySelectorAll("#parts tr")];
    return {
      title: text(document.getElementById("title")),
      download: document.getElementById("save").download,
      sizes: Object.fromEntries(terms.map((term, k) => [term, values[k]])),
      parts: rows.map((row) => [...row.children].map(text)),
    };
  });
  const png = await page.evaluate(async () => {
    const { href } = document.getElementById("save");
    const bytes = new Uint8Array(await (await fetch(href)).arrayBuffer());
    let text = "";
    for (const byte of bytes) text += String.fromCharCode(byte);
    return btoa(text);
  });
  return { ...facts, png: Buffer.from(png, "base64") };
}

/** Lets a file fall on the page. */
async function drop(page, file) {
  const data = readFileSync(file).toString("base64");
  await page.evaluate(
    ([name, data]) => {
      const bytes = Uint8Array.from(atob(data), (character) => character.charCodeAt(0));
      const dataTransfer = new DataTransfer();
      dataTransfer.items.add(new File([bytes], name));
      document.body.dispatchEvent(new DragEvent("drop", { bubbles: true, dataTransfer }));
    },
    [path.basename(file), data],
  );
}

const settings = JSON.parse(process.argv[2]);
const server = await serve(path.dirname(settings.page));
const browser = await chromium.launch({
  executablePath: settings.chromium,
  args: ["--no-sandbox"],
});
try {
  const page = await browser.newPage();
  const [requests, faults] = [[], []];
  page.on("request", (request) => requests.push(request.url()));
  page.on("console", (m) => m.text().startsWith("DBG") && console.error(m.text()));
  page.on("pageerror", (error) => faults.push(String(error)));
  const origin = `http://127.0.0.1:${server.address().port}`;
  await page.goto(`${origin}/${path.basename(settings.page)}`);
  const outcomes = [];
  for (const [k, file] of settings.files.entries()) {
    if (k % 2) await drop(page, file);
    else await page.locator("#file").setInputFiles(file);
    const { png, ...found } = await outcome(page);
    if (png) {
      found.png = path.join(settings.out, `${k}.png`);
      writeFileSync(found.png, png);
    }
    outcomes.push({ ...found, megabytes: rendererMegabytes() });
  }
  for (const [k, { file, width, height, dark }] of (settings.screenshots ?? []).entries()) {
    await page.setViewportSize({ width, height });
    await page.emulateMedia({ colorScheme: dark ? "dark" : "light" });
    await page.locator("#file").setInputFiles(file);
    await outcome(page);
    await page.waitForTimeout(300);
    await page.screenshot({ path: path.join(settings.out, `screenshot${k}.png`) });
  }
  const elsewhere = requests.filter((url) => !url.startsWith(origin) && !/^(blob|data):/.test(url));
  console.log(JSON.stringify({ outcomes, elsewhere, faults }));
} finally {
  await browser.close();
  server.close();
}
