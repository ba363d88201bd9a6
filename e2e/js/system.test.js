import assert from "node:assert/strict";
import { test } from "node:test";
import { websocket } from "../../shared/client/js/src/sluice.js";
import { client, collect, numbers, Proxy, shared, throughCuts, token, until } from "./harness.js";

let system;
shared({ SLUICE_HISTORY_SIZE: "20" }, 2, (started) => (system = started));

const gateway = () => system.gateways[0];

test("events arrive in order and once, whatever happens to the link", async (t) => {
  await throughCuts(t, system, "topic:links", (url) => client(t, url));
});

test("a link that gives nothing is found dead", async (t) => {
  const proxy = await Proxy.to(t, gateway().port);
  const s = client(t, proxy.url);
  const got = collect(s, "topic:stalled");
  await got.subscription.ready;
  proxy.stall();
  await system.add("topic:stalled", 1);
  await until("it has left", () => s.state !== "connected");
  proxy.stall(false);
  await until("the event", () => got.length === 1);
  assert.equal(s.told.states.find((e) => e.state === "waiting").reason, "the link is dead");
});

test("a gateway that stops sends its clients to another one", async (t) => {
  const leaving = await system.gateway();
  system.gateways.pop();
  const proxy = await Proxy.to(t, leaving.port);
  const s = client(t, proxy.url, { backoff: { min: 60_000, max: 60_000 } }); // only goaway can bring it back in time
  const got = collect(s, "topic:drain");
  await got.subscription.ready;
  await system.add("topic:drain", 1);
  await until("one", () => got.length === 1);
  proxy.port = gateway().port;
  leaving.kill("SIGTERM");
  await system.add("topic:drain", 2);
  const { code, retryInMs } = await until("it has left", () => s.told.states.find((e) => e.state === "waiting"));
  await until("two", () => got.length === 2);
  assert.deepEqual([...got], [1, 2]);
  assert.equal(code, 1012);
  assert.ok(retryInMs <= 1000, `${retryInMs} ms`);
});

test("a gateway that is killed loses nothing", async (t) => {
  const dying = await system.gateway();
  system.gateways.pop();
  const proxy = await Proxy.to(t, dying.port);
  const s = client(t, proxy.url);
  const got = collect(s, "topic:killed");
  await got.subscription.ready;
  await system.add("topic:killed", 1);
  await until("one", () => got.length === 1);
  proxy.port = gateway().port;
  dying.kill("SIGKILL");
  await system.add("topic:killed", 2);
  await until("two", () => got.length === 2);
  assert.deepEqual([...got], [1, 2]);
});

test("a token is asked for each time, and again when it has expired", async (t) => {
  let seconds = -20; // expired already
  const s = client(t, gateway().url, { getToken: ({ expired }) => token("alice", expired ? 3600 : seconds) });
  await until("connected", () => s.state === "connected");
  assert.deepEqual(s.told.tokens, [false, true]);
  assert.equal(s.told.states.find((e) => e.state === "waiting").code, 4401);
});

test("it stops where coming back is of no use", async (t) => {
  const refused = client(t, gateway().url, { getToken: () => "nonsense" });
  const waits = refused.subscribe("topic:x");
  await until("closed", () => refused.state === "closed");
  assert.equal(refused.told.states.at(-1).error.code, 4501);
  await assert.rejects(waits.ready, { code: 4501 });
  await assert.rejects(async () => { for await (const _ of waits); }, { code: 4501 });
  await assert.rejects(refused.publish("topic:x", 1), { code: "closed" });

  let calls = 0;
  const stopped = client(t, gateway().url, {
    getToken: () => {
      throw ++calls < 3 ? new Error("try again") : Object.assign(new Error("logged out"), { terminal: true });
    },
  });
  await until("closed", () => stopped.state === "closed");
  assert.equal(calls, 3);
  assert.equal(stopped.told.states.at(-1).error.message, "logged out");
});

test("what is gone is told, once, before what follows", async (t) => {
  const proxy = await Proxy.to(t, gateway().port);
  const seen = [];
  const s = client(t, proxy.url, { retained: true, onGap: (gap) => seen.push(gap.reason) });
  await s.subscribe("topic:gap", (e) => void seen.push(e.data)).ready;
  const reader = client(t, gateway().url, { retained: true });
  const other = collect(reader, "topic:gap");
  await other.subscription.ready;
  await system.add("topic:gap", 1);
  await until("one", () => seen.length === 1);
  proxy.port = 0;
  proxy.cut();
  await Promise.all(numbers(2, 300).map((n) => system.add("topic:gap", n)));
  await until("all are in the history", () => {
    if (other.at(-1) === 300) return true;
    throw new Error(JSON.stringify([other, reader.stats, reader.told]));
  });
  proxy.port = gateway().port;
  await until("the newest", () => seen.at(-1) === 300);
  assert.equal(seen[1], "trimmed");
  assert.equal(s.told.gaps.length, 1);
  assert.deepEqual(seen.slice(2), numbers(seen[2], 300), "no hole behind the gap");
  assert.ok(seen.length - 2 >= 20, "all that is retained came");
  assert.equal(s.told.resumed.at(-1).recovered, false);
});

test("a hole in what comes is mended by the history", async (t) => {
  let lose = true;
  const s = client(t, gateway().url, {
    transport: (request, on) => websocket(request, {
      ...on,
      frame(text) {
        if (lose && JSON.parse(text).data === 2) lose = false;
        else on.frame(text);
      },
    }),
  });
  const got = collect(s, "topic:hole");
  await got.subscription.ready;
  await Promise.all(numbers(1, 5).map((n) => system.add("topic:hole", n)));
  await until("five", () => got.length >= 5);
  assert.deepEqual([...got], [1, 2, 3, 4, 5]);
  assert.deepEqual([s.stats.holes, s.told.gaps, lose], [1, [], false]);
});

test("publishes arrive once and in order, though links break", async (t) => {
  const proxy = await Proxy.to(t, gateway().port);
  const reader = client(t, gateway().url);
  const got = collect(reader, "topic:published");
  await got.subscription.ready;
  const s = client(t, proxy.url);
  await until("connected", () => s.state === "connected");
  proxy.stall(true, true); // the answers do not come
  const all = numbers(1, 30).map((n) => s.publish("topic:published", n, { event: "count" }));
  await until("the first has arrived", () => got.length === 1);
  proxy.stall(false, true);
  proxy.cut();
  const results = [];
  for (const p of all) {
    results.push(await p);
    if (results.length % 10 === 0) proxy.cut();
  }
  await until("all", () => got.length >= 30);
  assert.deepEqual([...got], numbers(1, 30));
  assert.equal(new Set(results.map((r) => r.id)).size, 30);
  await assert.rejects(s.publish("no target", 1), { code: "bad_request" });
  await assert.rejects(s.publish("topic:x", "x".repeat(200_000)), { code: "too_large" });
  await assert.rejects(s.publish("topic:x", 1, { signal: AbortSignal.abort() }), { name: "AbortError" });
});

test("what a token does not allow is told to whom it concerns", async (t) => {
  const claims = { subscribe: ["topic:mine"], publish: [] };
  const proxy = await Proxy.to(t, gateway().port);
  const s = client(t, proxy.url, { getToken: () => token("bob", 3600, claims) });
  const [mine, other] = [collect(s, "topic:mine"), s.subscribe("topic:other")];
  await mine.subscription.ready;
  await assert.rejects(other.ready, { code: "forbidden" });
  await assert.rejects(s.publish("topic:mine", 1), { code: "forbidden" });
  await system.add("topic:mine", 1);
  await until("one", () => mine.length === 1);

  claims.subscribe = ["topic:new"]; // the next connection asks for topic:mine in `connect`, which names no ref
  const fresh = s.subscribe("topic:new");
  proxy.cut();
  await fresh.ready;
  await until("refused", () => s.told.errors.some((e) => e.error.code === "forbidden" && s.told.resumed.length));
  assert.equal(s.state, "connected");
});

// Acks of the last second or two may be on their way, and what they are of would come again.
const cursor = (user, device, to) => system.redis("HGET", system.key("user:" + user, "cursor"), `${device} ${to}`);
const acked = (user, device, to, id) => until("the cursor is there", async () => (await cursor(user, device, to)) === id);
const ended = (user, device, to) => until("the cursor has ended", async () => (await cursor(user, device, to)).endsWith(" ended"));

test("a device goes on where it acknowledged, with nothing kept", async (t) => {
  const to = "topic:device";
  const device = { device: "phone-1" };
  const first = client(t, gateway().url, device);
  const got = collect(first, to);
  await got.subscription.ready;
  const one = await system.add(to, 1);
  await until("one", () => got.length === 1);
  await acked("alice", "phone-1", to, one);
  let stop;
  first.subscribe(to, (e) => e.data === 2 && new Promise((r) => (stop = r))); // is never done with it
  const two = await system.add(to, 2);
  await until("two", () => stop);
  first.close();
  await system.add(to, 3);

  const second = client(t, system.gateways[1].url, device);
  await until("connected", () => second.state === "connected");
  const again = [];
  for await (const e of second.subscribe(to)) { // after the connection was opened
    again.push(e.data);
    if (e.data === 3) break; // not done with it
  }
  assert.deepEqual(again, [2, 3]);
  second.close();
  await acked("alice", "phone-1", to, two);

  const third = client(t, gateway().url, device);
  const rest = collect(third, to);
  await until("three again", () => rest.length === 1);
  assert.deepEqual([...rest], [3]);
  rest.subscription.unsubscribe();
  third.close();
  await ended("alice", "phone-1", to);
  await system.add(to, 4);
  const fourth = client(t, gateway().url, device);
  const nothing = collect(fourth, to);
  await nothing.subscription.ready;
  await system.add(to, 5);
  await until("five", () => nothing.length);
  assert.deepEqual([...nothing], [5]);
});

test("a device whose token becomes another user's goes on where that one acknowledged", async (t) => {
  const to = "topic:users";
  const bob = client(t, gateway().url, { device: "shared", getToken: () => token("bob") });
  const first = collect(bob, to);
  await first.subscription.ready;
  await acked("bob", "shared", to, await system.add(to, 1));
  bob.close();
  await system.add(to, 2);
  await until("two is in the history", async () => (await system.redis("XLEN", system.key(to, "history"))) >= 2);
  let user = "alice";
  const proxy = await Proxy.to(t, gateway().port);
  const s = client(t, proxy.url, { device: "shared", getToken: () => token(user) });
  const got = [];
  await s.subscribe(to, (e) => void got.push(`${s.user} ${e.data}`)).ready;
  await system.add(to, 3);
  await until("three", () => got.length === 1);
  user = "bob";
  proxy.cut();
  await until("what bob had missed", () => got.length === 3);
  await system.add(to, 4);
  await until("four", () => got.length === 4);
  assert.deepEqual(got, ["alice 3", "bob 2", "bob 3", "bob 4"]);
  assert.deepEqual(s.told.errors.map((e) => e.error.code), ["user_changed"]);
});

test("a device that comes back before its acknowledgements are there gets nothing twice, and nothing that it unsubscribed meanwhile", async (t) => {
  const [to, over] = ["topic:early", "topic:over"];
  const proxy = await Proxy.to(t, gateway().port);
  const s = client(t, proxy.url, { device: "early-1" });
  const stop = new AbortController();
  const got = [];
  const left = collect(s, over);
  await s.subscribe(to, (e) => void got.push(e.data), { signal: stop.signal }).ready;
  await left.subscription.ready;
  for (const n of [1, 2]) await Promise.all([to, over].map((target) => system.add(target, n)));
  await until("two of both", () => got.length + left.length === 4);
  stop.abort();
  proxy.port = undefined;
  proxy.cut();
  await until("it has left", () => s.state !== "connected");
  left.subscription.unsubscribe();
  proxy.port = gateway().port;
  await until("it is back", () => s.state === "connected");
  await ended("alice", "early-1", over);
  await s.publish("topic:warm", 1); // the answer comes behind all that was said before the end
  await Promise.all([to, over].map((target) => s.subscribe(target, (e) => void got.push(target + e.data)).ready));
  await Promise.all([to, over].map((target) => system.add(target, 3)));
  await until("three of both", () => got.length === 4);
  assert.deepEqual(got.sort(), [1, 2, to + 3, over + 3].sort());
});

test("many targets that were left without a connection, with acknowledgements to be sent, harm nothing", async (t) => {
  const proxy = await Proxy.to(t, gateway().port);
  const s = client(t, proxy.url, { autoAck: true });
  const here = collect(s, "topic:here");
  let go;
  const going = new Promise((resolve) => (go = resolve));
  let handled = 0;
  const all = numbers(1, 15).map((n) => s.subscribe("topic:many-" + n, () => going.then(() => void handled++)));
  await Promise.all([here.subscription, ...all].map((one) => one.ready));
  await Promise.all(all.map((one) => system.add(one.to, 1)));
  await until("they are published", async () => (await Promise.all(all.map((one) => system.redis("XLEN", system.key(one.to, "history"))))).every((n) => n > 0));
  await s.publish("topic:here", 1); // what came before is there
  await until("one", () => here.length === 1);
  proxy.port = undefined;
  proxy.cut();
  await until("it has left", () => s.state !== "connected");
  go();
  await until("all are handled", () => handled === 15);
  for (const one of all) one.unsubscribe();
  proxy.port = gateway().port;
  await until("it is back", () => s.state === "connected");
  await s.publish("topic:here", 2);
  await until("two", () => here.length === 2);
  await new Promise((r) => setTimeout(r, 300)); // acks are gathered
  await s.publish("topic:here", 3);
  await until("three", () => here.length === 3);
  assert.deepEqual([s.state, s.told.errors], ["connected", []]);
});

test("a storage keeps positions over a reload, for their user", async (t) => {
  const kept = new Map();
  const options = {
    storage: { getItem: async (k) => kept.get(k), setItem: (k, v) => kept.set(k, v) },
    getToken: () => token("carol"),
  };
  const got = [];
  const all = { ...options, topics: ["kept"], onEvent: (e) => void got.push(`${e.to} ${e.data}`) };
  const first = client(t, gateway().url, all);
  await until("connected", () => first.state === "connected");
  await first.subscribe("topic:kept", () => {}).ready;
  await first.subscribe("user:carol", () => {}).ready;
  await system.add("topic:kept", 1);
  await system.add("user:carol", 1);
  await until("two", () => got.length === 2);
  first.close();
  await system.add("topic:kept", 2);
  await system.add("user:carol", 2);
  const second = client(t, gateway().url, all);
  await until("all", () => got.length === 4);
  assert.deepEqual(got.toSorted(), ["topic:kept 1", "topic:kept 2", "user:carol 1", "user:carol 2"]);
  second.close();
  await system.add("topic:kept", 3);

  const other = client(t, gateway().url, { ...options, getToken: () => token("dave") });
  const his = collect(other, "topic:kept");
  await his.subscription.ready;
  await system.add("topic:kept", 4);
  await until("four", () => his.length);
  assert.deepEqual([...his], [4], "another user does not get what the one before missed");
});
