// What a browser does not do in time: tabs, workers and locks of this process, with a clock of the test.
import assert from "node:assert/strict";
import { test } from "node:test";
import { serve, tabs } from "../src/tabs.js";
import { Server, settle } from "./fake.js";

const to = "topic:a";
globalThis.close = () => {}; // of a worker

// Until there is something that goes over a port, which takes as long as it takes.
async function until(check) {
  for (let n = 0; n < 1000; n++) {
    if (check()) return;
    await settle();
  }
  assert.fail("it does not happen: " + check);
}

// Makes tabs, and the worker that they take; when that was ended, another one.
function browser(t, options) {
  const server = new Server(t);
  const held = new Map(); // name: resolves when it is released
  const release = new Map(); // name: does so
  const dead = new Set(); // names for which a worker waited that was ended
  const ports = [];
  let worker;
  let lock; // of it
  const locks = {
    async request(name, { signal }, f) {
      lock ??= name;
      await held.get(name);
      if (dead.has(name)) return;
      if (signal?.aborted) throw signal.reason;
      held.set(name, Promise.race([f(), new Promise((over) => release.set(name, over))]));
    },
  };
  const inside = (target, f) => {
    globalThis.addEventListener = target.addEventListener.bind(target);
    globalThis.dispatchEvent = target.dispatchEvent.bind(target);
    return f();
  };
  const begin = () => {
    worker = new EventTarget();
    lock = undefined; // the first that is asked for
    inside(worker, () => serve(server.client(options)));
  };
  Object.defineProperty(globalThis, "navigator", { value: { locks }, configurable: true });
  globalThis.SharedWorker = class {
    constructor() {
      if (!worker) begin();
      const { port1, port2 } = new MessageChannel();
      ports.push(port1, port2);
      this.port = port1;
      const events = worker;
      inside(events, () => events.dispatchEvent(Object.assign(new Event("connect"), { ports: [port2] })));
    }
  };
  t.after(() => {
    for (const port of ports) port.close();
  });
  return {
    server,
    open: () => inside(new EventTarget(), () => tabs(() => new SharedWorker())),
    async endWorker() {
      worker = undefined;
      for (const name of held.keys()) if (name !== lock) dead.add(name);
      release.get(lock)();
      const { length } = server.links;
      await until(() => server.links.length > length);
    },
  };
}

test("ids that fell while a tab was left out are told to it, and it takes what follows", async (t) => {
  const { server, open } = browser(t);
  const [a, b] = [open(), open()];
  const [got, late] = [[], []];
  let done;
  a.subscribe(to, (e) => void got.push(e.data));
  b.subscribe(to, (e) => (late.push(e.data), new Promise((r) => (done = r))), { onGap: (gap) => void late.push([gap.after, gap.position]) });
  const failures = [];
  b.on("error", ({ error }) => failures.push(error.code));
  await until(() => server.link);
  await server.welcome();
  await until(() => server.sent("subscribe").length === 1);
  server.subscribed(to, "8-0");
  await until(() => a.state === "connected" && b.state === "connected");
  server.event(to, 9, 9, 8);
  await until(() => got.length && late.length);
  await server.after(12_000);
  await until(() => failures.length);
  server.say({ type: "gap", to, after: "9-0", oldest: "3-0", position: "2-0", reason: "unknown" });
  server.event(to, 3, 3, 2);
  await until(() => got.length === 2);
  done();
  await until(() => late.length === 2);
  server.event(to, 4, 4, 3);
  await until(() => late.length === 3);
  assert.deepEqual([got, late, failures], [[9, 3, 4], [9, ["9-0", "3-0"], 4], ["late"]]);
});

test("tabs of a device whose token becomes another user's get what that one had not, though it is below what they had", async (t) => {
  const { server, open, endWorker } = browser(t, { device: "d" });
  const tab = open();
  const [got, later] = [[], []];
  tab.subscribe(to, (e) => void got.push(e.data));
  await until(() => server.link);
  await server.welcome();
  await until(() => server.sent("subscribe").length === 1);
  server.subscribed(to, "8-0");
  await until(() => tab.state === "connected");
  server.event(to, 9);
  await until(() => got.length === 1);
  server.link.on.close(1006, "");
  await server.welcome({ user: "bob" });
  await server.welcome({ user: "bob" });
  server.say({ type: "subscribed", to, position: "3-0", recovered: true });
  const another = open();
  another.subscribe(to, (e) => void later.push(e.data));
  await until(() => another.state === "connected");
  server.event(to, 4);
  await until(() => got.length === 2);
  server.event(to, 5);
  await until(() => got.length === 3);
  assert.deepEqual([got, later, tab.user], [[9, 4, 5], [4, 5], "bob"]);
});

test("of one tab a bounded number of publishes waits, also while there is no worker", async (t) => {
  browser(t);
  const { port1, port2 } = new MessageChannel();
  t.after(() => port2.close());
  const tab = tabs(() => ({ port: port1 }));
  const all = Array.from({ length: 1001 }, () => tab.publish(to, 1).catch((error) => error.code));
  assert.equal(await all[1000], "queue_full");
  tab.close();
  assert.deepEqual([...new Set(await Promise.all(all.slice(0, 1000)))], ["closed"]);
});

test("what is asked for again of another worker is given up before the server forgets its key", async (t) => {
  const { open, server, endWorker } = browser(t);
  const tab = open();
  await until(() => server.link);
  const codes = [];
  const publish = (n) => void tab.publish(to, n).catch((error) => codes.push(n + " " + error.code));
  publish(1);
  await server.after(300_000);
  await endWorker();
  await server.after(150_000);
  await endWorker();
  await server.after(88_000);
  assert.deepEqual(codes, []);
  await server.after(4000);
  await until(() => codes.length === 1);
  publish(2);
  await server.after(541_000);
  assert.deepEqual(codes, ["1 unknown"], "as long as it was not sent it waits");
  await endWorker();
  await until(() => codes.length === 2);
  await server.welcome();
  await until(() => tab.state === "connected");
  assert.deepEqual([codes, server.sent("publish")], [["1 unknown", "2 unknown"], []]);
});
