// What the tests of the JavaScript client need: an installation of real processes, and links that can be broken.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createHmac } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before } from "node:test";
import { Sluice } from "../../shared/client/js/src/sluice.js";

const PATIENCE_MS = 60_000; // far above what a healthy system needs on two busy cores
export const SECRET = "a secret of the tests, longer than 32 bytes";
export const FUNCTION_KEY = "twenty-four bytes or more";
export const FUNCTION_SECRET = "whsec_" + btoa(FUNCTION_KEY);

/** Waits until check gives something true, and returns that. */
export async function until(what, check) {
  const end = Date.now() + PATIENCE_MS;
  for (let last; ; await new Promise((r) => setTimeout(r, 10))) {
    try {
      const found = await check();
      if (found) return found;
      last = found;
    } catch (error) {
      last = error;
    }
    if (Date.now() > end) throw new Error(`still not so after ${PATIENCE_MS} ms: ${what} (${last?.stack ?? last})`);
  }
}

/** A signed token. It lets its user do everything; seconds may be how long it lives, also negative. */
export function token(user, seconds = 3600, claims = { subscribe: ["*"], publish: ["*"], call: ["*"] }) {
  const part = (x) => Buffer.from(JSON.stringify(x)).toString("base64url");
  const body = `${part({ alg: "HS256", typ: "JWT" })}.${part({ sub: user, exp: Math.floor(Date.now() / 1000) + seconds, sluice: claims })}`;
  return `${body}.${createHmac("sha256", SECRET).update(body).digest("base64url")}`;
}

/** A process, killed when the test ends. */
export function start(t, name, args, env = {}, cwd) {
  const clean = Object.fromEntries(Object.entries(process.env).filter(([key]) => !/^(SLUICE_|NODE_TEST)/.test(key)));
  const p = spawn(name, args, { env: { ...clean, GORACE: "atexit_sleep_ms=0", ...env }, cwd });
  p.said = "";
  for (const stream of [p.stdout, p.stderr]) stream.on("data", (d) => (p.said = (p.said + d).slice(-100_000)));
  p.over = new Promise((resolve) => p.on("close", resolve));
  p.on("error", (error) => (p.said += error));
  t.after(async () => {
    p.kill("SIGKILL");
    await p.over;
    if (/DATA RACE|^panic: /m.test(p.said)) throw new Error(p.said);
  });
  return p;
}

/** Starts the text of a function, as a document prints it, in a directory with what it imports, and gives its process with its `url`. */
export async function startFunction(t, program, args, text, dir = directory(t), secret = FUNCTION_SECRET) {
  const port = await freePort();
  const file = join(dir, `chat-${port}.mjs`);
  assert.match(text, /\b9000\b/);
  writeFileSync(file, text.replace(/\b9000\b/, port));
  const p = start(t, program, [...args, file], { SLUICE_FUNCTION_SECRET: secret });
  p.url = `http://127.0.0.1:${port}`;
  await until("the function answers", () => p.exitCode === null ? fetch(p.url, { method: "POST", body: "{}" }) : assert.fail(p.said));
  return p;
}

/** Until gateways know that there are functions, calls are refused. */
export const taken = (s, name) => until("calls are taken", async () => {
  await s.publish("topic:warm", 1); // too many bad frames in a row end a connection
  await s.call(name, undefined, { id: "first" });
  return true;
});

export async function freePort() {
  const server = net.createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  await new Promise((r) => server.close(r));
  return port;
}

/** The origin of pages of a site, which answers requests as node:http's createServer has it, until the test ends. */
export async function serveSite(t, answer) {
  const server = createServer(answer).listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => (server.closeAllConnections(), server.close()));
  return `http://127.0.0.1:${server.address().port}`;
}

/** A directory, removed when the test ends. */
export function directory(t) {
  const dir = mkdtempSync(join(tmpdir(), "sluice-js-"));
  t.after(() => rmSync(dir, { recursive: true, force: true, maxRetries: 5 }));
  return dir;
}

/** Just enough of Redis's protocol: `await redis("XADD", ...)`. */
async function connectRedis(t, port) {
  const socket = await until("redis-server answers", async () => {
    const s = net.connect(port, "127.0.0.1");
    await once(s, "connect");
    return s;
  });
  t.after(() => socket.destroy());
  const waiting = [];
  let text = "";
  socket.on("data", (d) => {
    for (text += d; ; ) {
      const line = /^([+:$-])([^\r]*)\r\n/.exec(text);
      if (!line) return;
      let [all, kind, value] = line;
      if (kind === "$" && value !== "-1") {
        const end = all.length + Number(value);
        if (text.length < end + 2) return;
        [value, all] = [text.slice(all.length, end), text.slice(0, end + 2)];
      }
      text = text.slice(all.length);
      const { resolve, reject } = waiting.shift();
      if (kind === "-") reject(new Error(value));
      else resolve(value);
    }
  });
  return (...args) => new Promise((resolve, reject) => {
    waiting.push({ resolve, reject });
    socket.write(`*${args.length}\r\n` + args.map((a) => `$${Buffer.byteLength(String(a))}\r\n${a}\r\n`).join(""));
  });
}

/** A redis-server, and processes that are a gateway and a worker each. */
export class System {
  gateways = [];

  static async start(t, env = {}, gateways = 1) {
    const s = new System();
    s.t = t;
    s.port = await freePort();
    start(t, "redis-server", ["--port", s.port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", directory(t)]);
    s.redis = await connectRedis(t, s.port);
    s.env = {
      SLUICE_AUTH: "jwt", SLUICE_JWT_SECRET: SECRET, SLUICE_REDIS_URL: `redis://127.0.0.1:${s.port}`, SLUICE_DRAIN_TIMEOUT: "1s",
      SLUICE_PING_INTERVAL: "300ms", ...env,
    };
    await Promise.all(Array.from({ length: gateways }, () => s.gateway()));
    await until("a worker has all partitions", async () => (await s.redis("XADD", "sluice:events", "*", "to", "topic:warm", "data", 1)) && s.worked());
    return s;
  }

  async worked() {
    return (await this.redis("XLEN", this.key("topic:warm", "history"))) > 0;
  }

  /** Starts one more. */
  async gateway() {
    const [port, admin] = [await freePort(), await freePort()];
    const p = start(this.t, process.env.SLUICE_LOCAL, [], {
      ...this.env, SLUICE_ADDR: `127.0.0.1:${port}`, SLUICE_ADMIN_ADDR: `127.0.0.1:${admin}`,
    });
    p.admin = admin;
    p.port = port;
    p.url = `http://127.0.0.1:${port}`;
    await until("sluice-local runs", () => {
      if (p.exitCode !== null) throw new Error(p.said);
      return p.said.includes("Ctrl-C");
    });
    await until("it takes clients", async () => (await fetch(p.url + "/sluice.js")).ok);
    this.gateways.push(p);
    return p;
  }

  /** The name of a target's key of a kind: `history`, `session`, `cursor`, `events`. */
  key(to, kind) {
    let crc = 0;
    for (const byte of Buffer.from(to)) {
      crc ^= byte << 8;
      for (let i = 0; i < 8; i++) crc = crc & 0x8000 ? ((crc << 1) ^ 0x1021) & 0xffff : (crc << 1) & 0xffff;
    }
    const tag = [10, 3, 61, 43, 11, 2, 60, 42, 12, 1, 63, 41, 13, 0, 62, 40][crc % 16];
    return `sluice:{${tag}}:${kind}` + (kind === "events" ? "" : ":" + to);
  }

  add(to, data, ...more) {
    return this.redis("XADD", this.key(to, "events"), "*", "to", to, "data", JSON.stringify(data), ...more);
  }
}

/** A link to a port, which can be cut, stalled and closed; `port` may be changed. */
export class Proxy {
  #pairs = new Set();
  #stalled = false;
  port; // of the target
  refuses; // a pattern: connections that begin like that are closed
  holds; // a pattern: what a client says like that waits for `release`
  release;
  connects = 0;

  static async to(t, port) {
    const p = new Proxy();
    p.port = port;
    const server = net.createServer((client) => p.#join(client)).listen(0, "127.0.0.1");
    await once(server, "listening");
    p.url = `http://127.0.0.1:${server.address().port}`;
    t.after(() => (p.cut(), new Promise((r) => server.close(r))));
    return p;
  }

  #join(client) {
    this.connects++;
    if (!this.port) return client.destroy();
    const server = net.connect(this.port, "127.0.0.1");
    client.once("data", (d) => this.refuses?.test(d) && client.destroy());
    const pair = [client, server];
    this.#pairs.add(pair);
    for (const [from, to] of [pair, [server, client]]) {
      from.on("data", (d) => {
        const go = () => to.write(d);
        if (from === client && this.holds?.test(d)) this.release = go;
        else go();
      });
      from.on("end", () => to.end());
      from.on("error", () => to.destroy());
      from.on("close", () => (to.destroy(), this.#pairs.delete(pair)));
      if (this.#stalled) from.pause();
    }
  }

  cut() {
    for (const pair of this.#pairs) for (const s of pair) s.destroy();
  }

  /** Nothing goes on, and nobody is told. answers: only what comes from the server. */
  stall(on = true, answers = false) {
    this.#stalled = on && !answers;
    for (const pair of this.#pairs) for (const s of answers ? [pair[1]] : pair) on ? s.pause() : s.resume();
  }
}

/** A client that ends with the test, and what it was told. */
export function client(t, url, options = {}, Client = Sluice) {
  const told = { states: [], gaps: [], resumed: [], errors: [], tokens: [] };
  const s = new Client({
    url, backoff: { min: 20, max: 200 }, ...options,
    getToken: async (why) => {
      told.tokens.push(why.expired);
      return options.getToken ? options.getToken(why) : token("alice");
    },
  });
  s.on("state", (e) => told.states.push(e));
  s.on("gap", (e) => told.gaps.push(e));
  s.on("resumed", (e) => told.resumed.push(e));
  s.on("error", (e) => told.errors.push(e));
  t.after(() => s.close());
  return Object.assign(s, { told });
}

/** What a target gives, as a growing list of data. */
export function collect(s, to, options) {
  const got = [];
  got.subscription = s.subscribe(to, (e) => void got.push(e.data), options);
  return got;
}

export const numbers = (from, to) => Array.from({ length: to - from + 1 }, (_, i) => from + i);

/** An installation that all tests of a file share: use is called with it before the first one. */
export function shared(env, gateways, use) {
  const cleanups = [];
  before(async () => use(await System.start({ after: (f) => cleanups.push(f) }, env, gateways)));
  after(async () => {
    for (const f of cleanups.reverse()) await f();
  });
}

/** A client of open(url) gets sixty events in order and once, while its link is cut again and again and leads to another gateway. */
export async function throughCuts(t, system, to, open) {
  const proxy = await Proxy.to(t, system.gateways[0].port);
  const s = open(proxy.url);
  const got = collect(s, to);
  await got.subscription.ready;
  for (let n = 0; n < 60; n += 10) {
    await Promise.all(numbers(n + 1, n + 5).map((n) => system.add(to, n)));
    proxy.port = system.gateways[(n / 10) % 2].port;
    proxy.cut();
    await Promise.all(numbers(n + 6, n + 10).map((n) => system.add(to, n)));
    await until("it caught up", () => got.length === n + 10);
  }
  assert.deepEqual([...got], numbers(1, 60));
  assert.ok(s.told.resumed.length >= 5 && s.told.resumed.every((r) => r.recovered), "it resumed");
  assert.deepEqual([s.told.gaps, s.told.errors, s.stats.holes], [[], [], 0]);
  return s;
}
