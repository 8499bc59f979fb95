// node build.mjs FOLDER          write the page into FOLDER
// node build.mjs --tests FOLDER  write the unit tests into FOLDER, for node --test
import { copyFileSync, mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { build } from "esbuild";

const tests = process.argv[2] === "--tests";
const folder = process.argv[tests ? 3 : 2];
mkdirSync(folder, { recursive: true });

if (tests) {
  await build({
    entryPoints: readdirSync("test").map((name) => join("test", name)),
    outdir: folder,
    outExtension: { ".js": ".mjs" },
    bundle: true,
    format: "esm",
    platform: "node",
  });
} else {
  await build({
    entryPoints: [{ in: "src/main.ts", out: "page" }],
    outdir: folder,
    bundle: true,
    minify: true,
    format: "esm",
    target: "es2022",
    legalComments: "eof",
  });
  copyFileSync("src/index.html", join(folder, "index.html"));
}
