// The package as npm packs it: installed into an empty project, and judged by others' tools.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { cpSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { gunzipSync, gzipSync } from "node:zlib";
import { client, directory, FUNCTION_SECRET, numbers, Proxy, start, startFunction, System, taken, until } from "./harness.js";
import { examples, redisExamples } from "./examples.js";

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
    import * as tabs from "@sluice/client/tabs";
    import * as hooks from "@sluice/client/react";
    for (const module of [client, both, tabs, hooks]) console.log(Object.keys(module).sort().join());
  `], { cwd: project });
  assert.deepEqual(stdout.trim().split("\n"), [
    "Sluice,SluiceError,websocket", "Sluice,SluiceError,stream,websocket", "SluiceError,serve,tabs", "useSluiceState,useSubscription",
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
  for (const name of ["sluice", "stream", "tabs"]) {
    const made = await minify(`src/${name}.js`);
    assert.equal(String(gunzipSync(readFileSync(join(source, name + ".min.js.gz")))), made, "run 'npm run build' in shared/client/js");
    sizes[name] = size(made);
  }
  sizes.react = size(await minify(exports["./react"].default));
  console.log("compressed:", sizes);
  assert.ok(sizes.sluice <= 5000 && sizes.stream <= 1500 && sizes.tabs <= 4000 && sizes.react <= 700, JSON.stringify(sizes));
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

test("Deno and Bun run the client: it publishes, resumes after a cut, acknowledges, and ends", { skip }, async (t) => {
  const system = await System.start(t, { SLUICE_AUTH: "dev" });
  await Promise.all([["deno", "run", "--allow-all"], ["bun"]].map(async ([name, ...args]) => {
    const proxy = await Proxy.to(t, system.gateways[0].port);
    const { port } = proxy;
    const to = "topic:" + name;
    const p = start(t, join(project, "node_modules/.bin", name), [...args, "runtime.mjs", proxy.url, to, name], {}, project);
    const says = (what) => until(name + " says " + what, () => p.said.includes(what + "\n") || assert.fail(p.said));
    await says("got 1");
    proxy.port = 0;
    proxy.cut();
    for (const n of [2, 3]) await system.add(to, n);
    proxy.port = port;
    await says("got 3");
    const last = await system.add(to, "last");
    assert.equal(await p.over, 0, p.said);
    assert.deepEqual(p.said.trim().split("\n"), ["published false", "got 1", "resumed true", "got 2", "got 3", "got last"]);
    await until("the last is acknowledged", async () => (await system.redis("HGET", system.key("user:alice", "cursor"), `${name} ${to}`)) === last);
  }));
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

test("clients of others get everything once and in order, through cuts, by each door", { skip }, async (t) => {
  const { EventSource, ReconnectingWebSocket, WebSocket } = await import(join(project, "others.mjs"));
  const system = await System.start(t, { SLUICE_AUTH: "dev" });
  const proxy = await Proxy.to(t, system.gateways[0].port);
  const query = "token=dev:alice&topics=room-1";
  const ws = proxy.url.replace("http", "ws") + "/v1/ws?" + query;
  const opens = {
    "ws, once more after each close": (take, positions) => {
      let socket, over;
      const open = () => {
        socket = new WebSocket(ws + positions());
        socket.on("message", (text) => take(JSON.parse(text))).on("error", () => {}).on("close", () => over || setTimeout(open, 50));
      };
      open();
      return () => ((over = true), socket.terminate());
    },
    "reconnecting-websocket": (take, positions) => {
      const socket = new ReconnectingWebSocket(() => ws + positions(), [], { WebSocket, minReconnectionDelay: 50, maxReconnectionDelay: 200 });
      socket.onmessage = (e) => take(JSON.parse(e.data));
      return () => socket.close();
    },
    eventsource: (take) => {
      const source = new EventSource(proxy.url + "/v1/sse?" + query);
      for (const name of ["message", "sluice.subscribed", "sluice.gap"]) source.addEventListener(name, (e) => take(JSON.parse(e.data)));
      return () => source.close();
    },
  };
  const all = Object.entries(opens).map(([name, open]) => {
    const one = { name, got: [], at: {}, there: 0 };
    const positions = () => Object.keys(one.at).length ? "&last_event_id=" + encodeURIComponent(Object.entries(one.at).map((p) => p.join("=")).join()) : "";
    t.after(open((f) => {
      if (f.type === "event") one.got.push(f.data);
      if (f.type === "gap") one.got.push("gap");
      if (f.type === "subscribed" && f.to === "topic:room-1") one.there++;
      if (f.id ?? f.position) one.at[f.to] = f.id ?? f.position;
    }, positions));
    return one;
  });
  for (let n = 0; n < 30; n += 10) {
    await until("all are there", () => all.every((one) => one.there > n / 10));
    await Promise.all(numbers(n + 1, n + 5).map((i) => system.add("topic:room-1", i)));
    proxy.cut();
    await Promise.all(numbers(n + 6, n + 10).map((i) => system.add("topic:room-1", i)));
  }
  await until("all have the last", () => all.every((one) => one.got.includes(30)));
  for (const { name, got } of all) assert.deepEqual(got, numbers(1, 30), name);
});

test("what README prints for Redis adds events, and reads receipts", { skip }, async (t) => {
  const system = await System.start(t, { SLUICE_AUTH: "dev" });
  const got = [];
  const s = client(t, system.gateways[0].url, { device: "phone-1", getToken: () => "dev:alice", topics: ["room-1"], onEvent: (e) => void got.push(e) });
  await until("it has subscribed", () => s.state === "connected" && s.told.resumed);
  await Promise.all(["user:alice", "all", "topic:room-1"].map((to) => s.subscribe(to, () => {}).ready));
  const heard = (what, check) => until(what, () => got.some(check));

  const [node, ...more] = redisExamples("js");
  assert.equal(more.length, 0);
  writeFileSync(join(project, "producer.mjs"), node.replace("createClient()", `createClient({ url: "redis://127.0.0.1:${system.port}" })`));
  const added = start(t, process.execPath, ["producer.mjs"], {}, project);
  await heard("Node's event", (e) => e.to === "all" && e.event === "notice" && e.data === "maintenance at noon").catch((error) => assert.fail(error + added.said));

  const [shell] = [...readFileSync(join(here, "../../README.md"), "utf8").matchAll(/^redis-cli (XADD .*)$/gm)].map(([, line]) => line);
  await run("sh", ["-c", `redis-cli -p ${system.port} ${shell}`]);
  await heard("redis-cli's event", (e) => e.to === "topic:room-1" && e.event === "chat" && e.data.text === "hi");

  const able = await Promise.all(["python3", "/usr/bin/python3"].map((name) => run(name, ["-c", "import redis"]).then(() => name, () => undefined)));
  const python = able.find(Boolean);
  if (!python) return t.skip("SKIP: the examples in Python are not run: no python3 with the module redis (Debian: apt-get install python3-redis)");
  const programs = redisExamples("python").map((text, i) => {
    writeFileSync(join(project, `${i}.py`), "import redis\n" + text.replace("redis.Redis(", `redis.Redis(port=${system.port}, `));
    return start(t, python, ["-u", join(project, `${i}.py`)]);
  });
  assert.equal(programs.length, 2);
  await heard("Python's event", (e) => e.to === "user:alice" && e.data.hello === 1).catch((error) => assert.fail(error + programs.map((p) => p.said)));
  await until("receipts are printed", async () => { // until it listens, events come again
    await system.add("user:alice", 2);
    if (programs.some((p) => /^alice has all of user:alice up to \d+-\d+ on phone-1$/m.test(p.said))) return true;
    throw new Error(programs.map((p) => p.said).join("\n"));
  });
});
