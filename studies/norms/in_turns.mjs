// The median milliseconds of one text of each of some ONNX files in WebAssembly, one thread, in turns, as JSON.
//
//     node in_turns.mjs PACKAGES LENGTH RUNS FILE...
//
// PACKAGES is a folder with node_modules/onnxruntime-web.
import { createRequire } from "node:module";
import path from "node:path";
import { pathToFileURL } from "node:url";

const [packages, length, runs, ...files] = process.argv.slice(2);
const from = createRequire(pathToFileURL(path.resolve(packages, "package.json")));
const ort = await import(pathToFileURL(from.resolve("onnxruntime-web")));
ort.env.wasm.numThreads = 1;

const tokens = (id) => new ort.Tensor("int64", BigInt64Array.from({ length }, () => BigInt(id)), [1, Number(length)]);
const feeds = { input_ids: tokens(5), attention_mask: tokens(1) };
const sessions = [];
for (const file of files) sessions.push(await ort.InferenceSession.create(file, { executionProviders: ["wasm"] }));
const taken = files.map(() => []);
for (let run = 0; run < runs; run++) {
    for (const [place, session] of sessions.entries()) {
        await session.run(feeds); // what the others left in the caches is gone
        const begun = performance.now();
        await session.run(feeds);
        taken[place].push(performance.now() - begun);
    }
}
const median = (times) => times.sort((a, b) => a - b)[Math.floor(times.length / 2)];
console.log(JSON.stringify({ version: ort.env.versions.web, ms: taken.map(median) }));
