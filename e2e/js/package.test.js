// The package as npm packs it: installed into an empty project, and judged by others' tools.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { cpSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { gunzipSync, gzipSync } from "node:zlib";
import { client, directory, FUNCTION_SECRET, start, startFunction, System, taken, until } from "./harness.js";
import { examples } from "./examples.js";

const here = dirname(fileURLToPath(import.meta.url));
const source = join(here, "../../shared/client/js");
const run = promisify(execFile);
const skip = await run("npm", ["--version"]).then(() => false, () => "SKIP: no npm on the PATH");

let project, packed;
before(async (t) => {
  if (skip) return;
  project = directory(t);
  const npm = (...args) => run("npm", [...args, "--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error"], { cwd: project });
  const { stdout } = await npm("pack", source, "--json", "--pack-destination", project);
  packed = join(project, JSON.parse(stdout)[0].filename);
  const { devDependencies } = JSON.parse(readFileSync(join(here, "package.json")));
  writeFileSync(join(project, "package.json"), JSON.stringify({ private: true, type: "module", devDependencies }));
  await npm("install", packed);
  cpSync(join(here, "project"), project, { recursive: true });
}, { timeout: 120_000 });

const tool = (name, ...args) => run(join(project, "node_modules/.bin", name), args, { cwd: project })
  .catch((error) => assert.fail(`${name}: ${error.stdout}${error.stderr}`));

test("the package holds what it needs, and imports", { skip }, async () => {
  const { stdout } = await run(process.execPath, ["--input-type=module", "-e", `
    import * as client from "@sluice/client";
    import * as both from "@sluice/client/stream";
    import * as hooks from "@sluice/client/react";
    for (const module of [client, both, hooks]) console.log(Object.keys(module).sort().join());
  `], { cwd: project });
  assert.deepEqual(stdout.trim().split("\n"), [
    "Sluice,SluiceError,websocket", "Sluice,SluiceError,stream,websocket", "useSluiceState,useSubscription",
  ]);
});

test("what gateways serve is made of the sources, and small", { skip }, async () => {
  const { scripts, exports } = JSON.parse(readFileSync(join(source, "package.json")));
  const [version, ...options] = scripts.minify.match(/(?<=esbuild)\S+|--(?!yes)\S+/g);
  const { devDependencies } = JSON.parse(readFileSync(join(here, "package.json")));
  assert.equal(version, "@" + devDependencies.esbuild);
  const minify = async (file) => (await run(join(project, "node_modules/.bin/esbuild"), [file, ...options, "--external:react"], { cwd: source })).stdout;
  const size = (text) => gzipSync(text, { level: 9 }).length;
  const sizes = {};
  for (const name of ["sluice", "stream"]) {
    const made = await minify(`src/${name}.js`);
    assert.equal(String(gunzipSync(readFileSync(join(source, name + ".min.js.gz")))), made, "run 'npm run build' in shared/client/js");
    sizes[name] = size(made);
  }
  sizes.react = size(await minify(exports["./react"].default));
  console.log("compressed:", sizes);
  assert.ok(sizes.sluice <= 5000 && sizes.stream <= 1500 && sizes.react <= 700, JSON.stringify(sizes));
});

test("publint and arethetypeswrong have nothing to say", { skip }, async () => {
  await Promise.all([tool("publint", "--strict", packed), tool("attw", packed, "--profile", "esm-only", "--no-color")]);
});

test("its types allow what is right, and nothing else", { skip }, async () => {
  examples("tsx").forEach((text, i) => writeFileSync(join(project, `example${i}.tsx`), text));
  writeFileSync(join(project, "tsconfig.json"), JSON.stringify({
    compilerOptions: { strict: true, noEmit: true, target: "es2022", module: "nodenext", lib: ["es2022", "dom"], types: [], jsx: "react-jsx" },
    include: ["*.ts", "*.tsx"],
  }));
  await tool("tsc", "--pretty", "false");
});

test("the hooks keep one subscription while a component is there", { skip }, async () => {
  await run(process.execPath, ["hooks.mjs"], { cwd: project }).catch((error) => assert.fail(error.stderr));
});

test("the document of frames is what AsyncAPI's own schema wants", { skip }, async () => {
  await run(process.execPath, ["asyncapi.mjs", join(here, "../../gateway/asyncapi.json")], { cwd: project }).catch((error) => assert.fail(error.stderr));
});

test("a function of Standard Webhooks' library and CloudEvents' SDK takes what workers send, and nothing else", { skip }, async (t) => {
  const text = readFileSync(join(project, "function.mjs"), "utf8");
  const f = await startFunction(t, process.execPath, process.execArgv, text, project);
  const system = await System.start(t, { SLUICE_FUNCTIONS: "call+connected+disconnected=" + f.url, SLUICE_FUNCTION_SECRET: FUNCTION_SECRET });
  const s = client(t, system.gateways[0].url);
  await taken(s, "any");
  for (const odd of ["é \u2028 \ud83d\ude00", { "</script>": [1.5, null, "\\"] }, ""]) {
    const { heard, by } = await s.call("any", odd);
    assert.deepEqual([heard, by], [odd, "sluice.call"]);
  }
  s.close();
  for (const type of ["connected", "call", "disconnected"]) {
    await until(type + " is heard", () => f.said.includes(`heard sluice.${type} user:alice sluice: true\n`));
  }
  assert.equal([...f.said.matchAll(/^refused/gm)].length, 1, f.said); // what startFunction sent
});

test("the wscat lines of README print what is added, and what was missed", { skip }, async (t) => {
  const lines = [...readFileSync(join(here, "../../README.md"), "utf8").matchAll(/^ +npx wscat -c '([^']+)'$/gm)].map(([, url]) => url);
  assert.equal(lines.length, 2);
  const system = await System.start(t, { SLUICE_AUTH: "dev" });
  const wscat = (url) => start(t, join(project, "node_modules/.bin/wscat"), ["-c", url.replace("ws://127.0.0.1:8080", system.gateways[0].url.replace("http", "ws"))]);
  const first = wscat(lines[0]);
  await until("it is subscribed", () => /"subscribed","to":"user:alice"/.test(first.said));
  const id = await system.add("user:alice", { hello: 1 });
  await until("the event is printed", () => first.said.includes('"data":{"hello":1}'));
  first.kill();
  await first.over;
  for (const n of [2, 3, 4]) await system.add("user:alice", { hello: n });
  const second = wscat(lines[1].replace("<id>", id));
  await until("the last one is printed", () => second.said.includes('"data":{"hello":4}'));
  assert.deepEqual([...second.said.matchAll(/"hello":(\d)/g)].map(([, n]) => n), ["2", "3", "4"]);
});
