import assert from "node:assert/strict";
import { test } from "node:test";
import { Server, settle } from "./fake.js";

const to = "topic:a";

// A subscription that stands at event 1.
async function standing(t, options) {
  const server = new Server(t);
  const s = server.client(options);
  const got = [];
  const subscription = s.subscribe(to, (e) => void got.push(e.data));
  await server.welcome();
  server.subscribed(to, "1-0");
  return { server, s, got, subscription };
}

test("repeats are dropped, live-only events and skips are not taken for holes", async (t) => {
  const { server, s, got } = await standing(t);
  server.event(to, 2);
  server.event(to, 2);
  server.event(to, 1);
  server.say({ type: "event", to, event: "message", data: "live" });
  server.say({ type: "skip", to, id: "3-0", prev: "2-0" });
  server.event(to, 4);
  await settle();
  assert.deepEqual(got, [2, "live", 4]);
  assert.equal(s.stats.repeats, 2);
  assert.equal(server.sent("subscribe").length, 1);
});

test("ids are compared as numbers, both parts of them", async (t) => {
  const { server, got } = await standing(t);
  for (const [id, prev] of [["9-0", "1-0"], ["10-9", "9-0"], ["10-10", "10-9"], ["10-18446744073709551615", "10-10"],
    ["11-0", "10-18446744073709551615"], ["18446744073709551615-18446744073709551615", "11-0"]]) {
    server.say({ type: "event", to, id, prev, event: "message", data: id });
  }
  await settle();
  assert.equal(got.length, 6);
});

test("a hole is asked for once; what cannot be had then is told as a gap", async (t) => {
  const { server, s, got } = await standing(t, { onGap: (gap) => void got.push(gap.after + " " + gap.position) });
  server.event(to, 5);
  server.event(to, 6);
  assert.deepEqual(server.sent("subscribe").at(-1), { type: "subscribe", ref: "s2", to, after: "1-0" });
  server.subscribed(to, "1-0");
  server.event(to, 3, 3, 1);
  server.event(to, 5);
  await settle();
  assert.deepEqual(got, [3]);
  server.subscribed(to, "3-0");
  server.event(to, 5);
  await settle();
  assert.deepEqual(got, [3, "3-0 4-0", 5]);
  assert.equal(s.stats.holes, 2);
  assert.equal(server.sent("subscribe").length, 3);
});

test("a gap moves the position, also back", async (t) => {
  const { server, got } = await standing(t, { onGap: (gap) => void got.push(gap.reason) });
  server.event(to, 7, 7, 1);
  server.say({ type: "gap", to, after: "7-0", oldest: "2-0", position: "1-0", reason: "unknown" });
  server.event(to, 2);
  await settle();
  assert.deepEqual(got, [7, "unknown", 2]);
});

test("what is of an earlier position is not taken", async (t) => {
  const server = new Server(t);
  const s = server.client();
  await server.welcome();
  const got = [];
  s.subscribe("all", (e) => void got.push(e.data));
  server.say({ type: "subscribed", to: "all", position: "1-0", recovered: true }); // for everyone, before this one asked
  server.event("all", 2);
  server.subscribed("all", "2-0");
  server.event("all", 3);
  await settle();
  assert.deepEqual(got, [3]);
});

test("events wait for slow handlers, within the bounds; the rest is asked for when they are done", async (t) => {
  const server = new Server(t);
  const s = server.client({ queue: { bytes: 400 } });
  const got = [];
  let done;
  s.subscribe(to, (e) => (got.push(e.data), new Promise((r) => (done = r))));
  await server.welcome();
  server.subscribed(to, "0");
  for (let n = 1; n <= 20; n++) server.event(to, n);
  await settle();
  assert.deepEqual(got, [1]);
  while (server.sent("subscribe").length === 1) {
    done();
    await settle();
  }
  const last = got.at(-1);
  assert.deepEqual(got, Array.from({ length: last }, (_, i) => i + 1));
  assert.ok(last > 1 && last < 20, `${last} events were kept`);
  assert.equal(server.sent("subscribe").at(-1).after, `${last}-0`);
  assert.equal(s.stats.overflows, 1);
});

test("a target of which nothing is handled leaves room to the others", async (t) => {
  const server = new Server(t);
  const s = server.client({ queue: { bytes: 2000 } });
  s.subscribe("topic:stuck", () => new Promise(() => {}));
  let done;
  const got = [];
  s.subscribe(to, (e) => (got.push(e.data), new Promise((r) => (done = r))));
  await server.welcome();
  server.subscribed("topic:stuck", "0");
  server.subscribed(to, "0");
  for (let n = 1; n <= 100; n++) server.event("topic:stuck", n);
  for (let n = 1; n <= 5; n++) server.event(to, n);
  for (let n = 1; n <= 5; n++) {
    await settle();
    done();
  }
  assert.deepEqual(got, [1, 2, 3, 4, 5]);
  assert.equal(s.stats.overflows, 1, "of the one that is stuck");
});

test("a position is saved, and acknowledged, when the handler has returned", async (t) => {
  const kept = new Map();
  const server = new Server(t);
  const s = server.client({ autoAck: true, storageKey: "k", storage: { getItem: (k) => kept.get(k), setItem: (k, v) => kept.set(k, v) } });
  let done;
  s.subscribe(to, () => new Promise((r) => (done = r)));
  await server.welcome();
  server.subscribed(to, "1-0");
  server.event(to, 2);
  await server.after(1000);
  assert.deepEqual(JSON.parse(kept.get("k")), { user: "alice", at: { [to]: "1-0" } });
  assert.deepEqual(server.sent("ack"), []);
  done();
  await settle();
  await server.after(1000);
  assert.deepEqual(JSON.parse(kept.get("k")).at, { [to]: "2-0" });
  assert.deepEqual(server.sent("ack"), [{ type: "ack", to, id: "2-0" }]);
});

test("what is forgotten before the positions are loaded does not take their place in the storage", async (t) => {
  const kept = JSON.stringify({ user: "alice", at: { [to]: "5-0" } });
  let loaded;
  const saved = [];
  const server = new Server(t);
  const s = server.client({ storage: { getItem: () => new Promise((r) => (loaded = r)), setItem: (k, v) => void saved.push(JSON.parse(v).at) } });
  s.subscribe("topic:b", () => {}).unsubscribe();
  await server.after(1000);
  assert.deepEqual(saved, []);
  loaded(kept);
  s.subscribe(to, () => {});
  await server.welcome();
  assert.deepEqual(server.link.request.hello.resume, { [to]: "5-0" });
  server.say({ type: "subscribed", to, position: "5-0", recovered: true });
  await server.after(1000);
  assert.deepEqual(saved.at(-1), { [to]: "5-0" });
});

test("a handler that throws is told of, and does not stop what follows", async (t) => {
  const { server, s, got } = await standing(t);
  s.subscribe(to, (e) => {
    if (e.data === 2) throw new Error("oops");
  });
  server.event(to, 2);
  server.event(to, 3);
  await settle();
  assert.deepEqual(got, [2, 3]);
  assert.deepEqual(s.failures.map((f) => [f.error.message, f.event.data]), [["oops", 2]]);
});

test("a handler that another one ends does not get what both would have got", async (t) => {
  const { server, s, got } = await standing(t);
  const ended = [];
  const ends = s.subscribe(to, (e) => e.data === 3 && later.unsubscribe());
  const later = s.subscribe(to, (e) => void ended.push(e.data));
  for (const id of [2, 3, 4]) server.event(to, id);
  await settle();
  assert.deepEqual([got, ended], [[2, 3, 4], [2]]);
  ends.unsubscribe();
});

test("a loop takes one event at a time, and has handled it when it asks for the next one", async (t) => {
  const server = new Server(t);
  const s = server.client({ autoAck: true });
  const loop = s.subscribe(to)[Symbol.asyncIterator]();
  const first = loop.next();
  await server.welcome();
  server.subscribed(to, "0");
  server.event(to, 1);
  server.event(to, 2);
  assert.equal((await first).value.data, 1);
  await server.after(1000);
  assert.deepEqual(server.sent("ack"), []);
  assert.equal((await loop.next()).value.data, 2);
  await server.after(1000);
  assert.deepEqual(server.sent("ack").at(-1).id, "1-0");
  await loop.return();
  await settle();
  assert.equal(server.sent("unsubscribe").length, 1);
  const again = s.subscribe(to); // what it was not done with comes again
  assert.equal(server.sent("subscribe").at(-1).after, "1-0");
  const next = again[Symbol.asyncIterator]().next();
  s.close();
  assert.deepEqual(await next, { value: undefined, done: true });
});

test("unsubscribe forgets, a signal does not", async (t) => {
  const { server, s, subscription } = await standing(t);
  const stop = new AbortController();
  s.subscribe(to, () => {}, { signal: stop.signal });
  subscription.unsubscribe();
  assert.equal(server.sent("unsubscribe").length, 0, "another handler is there");
  stop.abort();
  assert.equal(server.sent("unsubscribe").length, 1);
  const again = s.subscribe(to, () => {});
  assert.equal(server.sent("subscribe").at(-1).after, "1-0");
  again.unsubscribe();
  s.subscribe(to, () => {});
  assert.equal(server.sent("subscribe").at(-1).after, undefined);
});

test("what the server cannot do now is asked for again, what it refuses is not", async (t) => {
  const server = new Server(t);
  const s = server.client();
  const a = s.subscribe("topic:a");
  const b = s.subscribe("topic:b");
  await server.welcome();
  const [first, second] = server.sent("subscribe");
  server.say({ type: "error", ref: first.ref, code: "rate_limited", message: "slowly", retry_after_ms: 3000 });
  server.say({ type: "error", ref: second.ref, code: "forbidden", message: "no" });
  await assert.rejects(b.ready, { code: "forbidden", message: "no" });
  await server.after(2500);
  assert.equal(server.sent("subscribe").length, 2);
  await server.after(1500);
  assert.equal(server.sent("subscribe").length, 3);
  server.subscribed("topic:a", "4-0");
  assert.equal(await a.ready, "4-0");
});
