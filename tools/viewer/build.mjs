// Builds helmframe/views/viewer.js. With --check, fails if the committed file differs from the build.
import { createHash } from "node:crypto";
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const output = join(here, "..", "..", "helmframe", "views", "viewer.js");

// The digest of everything that the build reads; tests/views/test_viewer_asset.py computes the same without Node.
function sourceDigest() {
  const names = readdirSync(join(here, "src")).sort().map((name) => `src/${name}`);
  const hash = createHash("sha256");
  for (const name of ["build.mjs", "package-lock.json", "tsconfig.json", ...names]) {
    hash.update(`${name}\0`).update(readFileSync(join(here, name))).update("\0");
  }
  return hash.digest("hex");
}

const licenses = ["preact", "@tanstack/table-core"].map((name) => {
  const folder = join(here, "node_modules", name);
  const { version, license } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
  const notice = readFileSync(join(folder, "LICENSE"), "utf8").trim().replaceAll("*/", "* /");
  return `${name} ${version} (${license})\n\n${notice}`;
});
const banner = `/* The viewer of helmframe. Built from tools/viewer by \`make viewer\`; don't edit.
source: ${sourceDigest()}

It contains these packages:

${licenses.join("\n\n")}
*/`;

const { outputFiles } = await build({
  absWorkingDir: here,
  entryPoints: ["src/main.tsx"],
  bundle: true,
  format: "esm",
  target: "es2022",
  minify: true,
  charset: "ascii",
  loader: { ".css": "text" },
  define: { "process.env.NODE_ENV": '"production"' },
  legalComments: "none",
  banner: { js: banner },
  write: false,
});
const text = outputFiles[0].text;
if (process.argv.includes("--check")) {
  if (readFileSync(output, "utf8") !== text) {
    console.error("helmframe/views/viewer.js isn't what tools/viewer builds. Write: make viewer");
    process.exit(1);
  }
} else {
  writeFileSync(output, text);
  console.log(`${output}: ${(text.length / 1000).toFixed(0)} kB`);
}
