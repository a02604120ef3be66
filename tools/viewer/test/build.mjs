// Bundles a module of src for tests.
import { build } from "esbuild";

export async function load(name) {
  const { outputFiles } = await build({
    absWorkingDir: new URL("..", import.meta.url).pathname, entryPoints: [`src/${name}`], bundle: true, format: "esm", write: false,
    loader: { ".css": "text" },
  });
  return import(`data:text/javascript;base64,${Buffer.from(outputFiles[0].text).toString("base64")}`);
}
