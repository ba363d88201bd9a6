// The client over an event stream, and over both doors.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Sluice } from "../../shared/client/js/src/stream.js";
import { client, collect, numbers, Proxy, shared, throughCuts, token, until } from "./harness.js";

let system;
shared({ SLUICE_HISTORY_SIZE: "100" }, 2, (started) => (system = started));

const gateway = () => system.gateways[0];
const overStream = (t, url, options) => client(t, url, { transport: "sse", ...options }, Sluice);
const door = (s) => s.told.states.findLast((e) => e.state === "connected")?.transport ?? "ws";

test("a stream gives events in order and once, whatever happens to the link", async (t) => {
  const s = await throughCuts(t, system, "topic:streamed", (url) => overStream(t, url));
  assert.equal(door(s), "sse");
});

test("what is subscribed later comes on the stream, too, and nothing of the others is lost", async (t) => {
  const s = overStream(t, gateway().url, { getToken: () => token("alice", 3600, { subscribe: ["topic:s-*"] }) });
  const all = [collect(s, "user:alice")];
  await all[0].subscription.ready;
  await system.add("topic:s-1", "before");
  for (let n = 1; n <= 5; n++) {
    all.push(collect(s, "topic:s-" + n, n === 1 ? { after: "earliest" } : {}));
    await Promise.all(numbers(1, 10).map((i) => system.add("user:alice", n * 10 + i)));
    await all[n].subscription.ready;
    for (const got of all) await system.add(got.subscription.to, "to " + n);
  }
  await assert.rejects(s.subscribe("topic:other").ready, { code: "forbidden" });
  await until("all", () => all.every((got) => got.at(-1) === "to 5"));
  assert.deepEqual(all[0].filter(Number.isInteger).toSorted((a, b) => a - b), numbers(11, 60), "the own user");
  assert.deepEqual([...all[1]], ["before", ...numbers(1, 5).map((n) => "to " + n)]);
  assert.deepEqual([...all[4]], ["to 4", "to 5"]);
  all[2].subscription.unsubscribe();
  await system.add("topic:s-2", "nobody wants it");
  await system.add("topic:s-3", "last");
  await until("the last", () => all[3].at(-1) === "last");
  assert.equal(all[2].at(-1), "to 5");
  assert.deepEqual([s.stats.holes, s.told.gaps, s.told.errors.length], [0, [], 1]);
});

test("more targets than a stream may have are refused, each by itself", async (t) => {
  const s = overStream(t, gateway().url);
  const all = numbers(1, 60).map((n) => s.subscribe("topic:many-" + n));
  const answers = await Promise.allSettled(all.map((one) => one.ready));
  const refused = answers.filter((a) => a.status === "rejected");
  assert.equal(refused.length, 30); // of 32 two are the own user and all
  assert.ok(refused.every((a) => a.reason.code === "too_many"));
});

test("what is gone is told on a stream, once, before what follows", async (t) => {
  const proxy = await Proxy.to(t, gateway().port);
  const seen = [];
  const s = overStream(t, proxy.url, { retained: true, onGap: (gap) => seen.push(gap.reason) });
  await s.subscribe("topic:gone", (e) => void seen.push(e.data)).ready;
  const other = collect(client(t, gateway().url, { retained: true }), "topic:gone");
  await other.subscription.ready;
  await system.add("topic:gone", 1);
  await until("one", () => seen.length === 1);
  proxy.port = 0;
  proxy.cut();
  await Promise.all(numbers(2, 300).map((n) => system.add("topic:gone", n)));
  await until("all are in the history", () => other.at(-1) === 300);
  proxy.port = gateway().port;
  await until("the newest", () => seen.at(-1) === 300);
  assert.equal(seen[1], "trimmed");
  assert.deepEqual([s.told.gaps.length, seen.slice(2)], [1, numbers(seen[2], 300)]);
});

test("a stream that gives nothing is found dead", async (t) => {
  const proxy = await Proxy.to(t, gateway().port);
  const s = overStream(t, proxy.url);
  const got = collect(s, "topic:silent");
  await got.subscription.ready;
  proxy.stall();
  await system.add("topic:silent", 1);
  await until("it has left", () => s.state !== "connected");
  proxy.stall(false);
  await until("the event", () => got.length === 1);
});

test("a stream obeys what ends it", async (t) => {
  let seconds = -20; // expired already
  const s = overStream(t, gateway().url, { getToken: ({ expired }) => token("alice", expired ? 3600 : seconds) });
  await until("connected", () => s.state === "connected");
  assert.deepEqual(s.told.tokens, [false, true]);
  const refused = overStream(t, gateway().url, { getToken: () => "nonsense" });
  await until("closed", () => refused.state === "closed");
  assert.equal(refused.told.states.at(-1).error.code, 4501);

  const leaving = await system.gateway();
  system.gateways.pop();
  const proxy = await Proxy.to(t, leaving.port);
  const other = overStream(t, proxy.url, { backoff: { min: 60_000, max: 60_000 } }); // only goaway can bring it back in time
  const got = collect(other, "topic:s-drain");
  await got.subscription.ready;
  proxy.port = gateway().port;
  leaving.kill("SIGTERM");
  await system.add("topic:s-drain", 1);
  await until("one", () => got.length === 1);
  await until("the gateway has gone", () => leaving.exitCode !== null); // a kick means nobody who comes later, as from its stream
  await system.add("topic:s-drain", 2);
  await until("two", () => got.length === 2);
  await system.redis("XADD", "sluice:events", "*", "to", "user:alice", "control", "kick", "reason", "out");
  await until("closed", () => other.state === "closed");
  assert.equal(other.told.states.at(-1).error.code, 4503);
});

test("where no WebSocket passes a stream is taken, and nothing is lost when the door changes", async (t) => {
  const proxy = await Proxy.to(t, gateway().port);
  const s = client(t, proxy.url, {}, Sluice);
  const got = collect(s, "topic:doors");
  await got.subscription.ready;
  assert.equal(door(s), "ws");
  let n = 0;
  for (const [refuses, want] of [[/upgrade: websocket/i, "sse"], [/v1\/sse/, "ws"], [/upgrade: websocket/i, "sse"], [undefined, "ws"]]) {
    await Promise.all([1, 2, 3, 4, 5].map(() => system.add("topic:doors", ++n)));
    const before = s.told.states.length;
    proxy.refuses = refuses;
    proxy.cut();
    await Promise.all([1, 2, 3, 4, 5].map(() => system.add("topic:doors", ++n)));
    await until("it caught up", () => got.length === n);
    // A machine that is slow may let a link look dead by now, and the other door be taken.
    const taken = s.told.states.slice(before).filter((e) => e.state === "connected").map((e) => e.transport ?? "ws");
    assert.ok(taken.includes(want), `${taken}, want ${want}`);
  }
  assert.deepEqual([...got], numbers(1, n));
  assert.deepEqual([s.told.gaps, s.told.errors, s.stats.holes], [[], [], 0]);
});

test("publishes over HTTP arrive once and in order, though links break", async (t) => {
  const proxy = await Proxy.to(t, gateway().port);
  const reader = client(t, gateway().url);
  const got = collect(reader, "topic:posted");
  await got.subscription.ready;
  const s = overStream(t, proxy.url);
  await until("connected", () => s.state === "connected");
  const all = numbers(1, 30).map((n) => s.publish("topic:posted", n, { event: "count" }));
  const results = [];
  for (const p of all) {
    results.push(await p);
    if (results.length % 10 === 0) proxy.cut();
  }
  await until("all", () => got.length >= 30);
  assert.deepEqual([...got], numbers(1, 30));
  assert.equal(new Set(results.map((r) => r.id)).size, 30);
  await assert.rejects(s.publish("no target", 1), { code: "bad_request" });
});

test("a device over a stream goes on where it acknowledged", async (t) => {
  const to = "topic:s-device";
  const first = overStream(t, gateway().url, { device: "tv-1" });
  const got = collect(first, to);
  await got.subscription.ready;
  const one = await system.add(to, 1);
  await until("one", () => got.length === 1);
  await until("the cursor is there", async () =>
    (await system.redis("HGET", system.key("user:alice", "cursor"), `tv-1 ${to}`)) === one);
  first.close();
  await system.add(to, 2);
  const second = overStream(t, system.gateways[1].url, { device: "tv-1" });
  const rest = collect(second, to);
  await until("two", () => rest.length === 1);
  assert.deepEqual([...rest], [2]);
});

test("a device over a stream does not come back with what it has unsubscribed", async (t) => {
  const cursor = (to) => system.redis("HGET", system.key("user:alice", "cursor"), `tv-2 ${to}`);
  const first = overStream(t, gateway().url, { device: "tv-2" });
  const kept = collect(first, "topic:s-kept");
  const early = first.subscribe("topic:s-early", () => {}); // left before it is there
  setTimeout(() => early.unsubscribe(), 30);
  await kept.subscription.ready;
  const left = collect(first, "topic:s-left");
  await left.subscription.ready;
  await system.add("topic:s-left", 1);
  await until("one", () => left.length === 1);
  left.subscription.unsubscribe(); // its acknowledgement is on its way
  await until("both have ended", async () =>
    (await cursor("topic:s-left"))?.endsWith(" ended") && (await cursor("topic:s-early"))?.endsWith(" ended"));
  const one = await system.add("topic:s-kept", 1);
  await until("it goes on without them", async () => (await cursor("topic:s-kept")) === one);
  first.close();
  await Promise.all(["s-left", "s-early", "s-kept"].map((name) => system.add("topic:" + name, 2)));
  const second = client(t, system.gateways[1].url, { device: "tv-2" });
  const rest = collect(second, "topic:s-kept");
  await until("two", () => rest.length === 1);
  const again = collect(second, "topic:s-left");
  await again.subscription.ready;
  await system.add("topic:s-left", 3);
  await until("three", () => again.length === 1);
  assert.deepEqual([[...rest], [...again], (await cursor("topic:s-early")).endsWith(" ended")], [[2], [3], true]);
  assert.deepEqual([first.told.errors, second.told.errors], [[], []]);
});

test("a device over a stream subscribes again behind the end of its cursor, however late that is", async (t) => {
  const to = "topic:s-again";
  const cursor = () => system.redis("HGET", system.key("user:alice", "cursor"), `tv-3 ${to}`);
  const proxy = await Proxy.to(t, gateway().port);
  const s = overStream(t, proxy.url, { device: "tv-3", autoAck: false });
  const left = collect(s, to);
  await left.subscription.ready;
  await system.add(to, 1);
  await until("one", () => left.length === 1);
  proxy.holds = /^POST \/v1\/unsubscribe/;
  left.subscription.unsubscribe();
  await until("it is on its way", () => proxy.release);
  const again = collect(s, to);
  await new Promise((r) => setTimeout(r, 300)); // for a stream that would not wait
  proxy.release();
  const position = await again.subscription.ready;
  await until("its cursor begins again", async () => (await cursor()) === position);
  await system.add(to, 2);
  await until("two", () => again.length);
  assert.deepEqual([[...again], await cursor()], [[2], position]);
});
