import assert from "node:assert/strict";
import { test } from "node:test";
import { Server, settle } from "./fake.js";

const to = "topic:a";
const answer = (server, f, more) => server.say({ type: "published", ref: f.ref, to: f.to, id: "1-0", duplicate: false, ...more });

test("of a target one is under way at a time, and a repeat has the same key", async (t) => {
  const server = new Server(t);
  const s = server.client();
  const [a, b, c] = [s.publish(to, "a", { event: "e" }), s.publish(to, "b"), s.publish("topic:b", "c")];
  await server.welcome();
  const [first, other] = server.sent("publish");
  assert.deepEqual({ ...first, id: 0 }, { type: "publish", ref: "p1", to, event: "e", id: 0, data: "a" });
  assert.match(first.id, /^\d+(-\d+){3}$/);
  assert.deepEqual([server.sent("publish").length, other.data], [2, "c"]);
  server.link.on.close(1006, "");
  await server.after(2000);
  await server.welcome();
  assert.deepEqual(server.sent("publish"), [first, other]);
  answer(server, first, { duplicate: true });
  answer(server, other);
  assert.deepEqual(await a, { type: "published", ref: "p1", to, id: "1-0", duplicate: true });
  await c;
  assert.equal(server.sent("publish").at(-1).data, "b");
  answer(server, server.sent("publish").at(-1));
  await b;
});

test("an answer that does not come is asked for again, as long as the key is known", async (t) => {
  const server = new Server(t);
  const s = server.client();
  await server.welcome();
  const p = s.publish(to, 1);
  await server.after(16_000);
  const [first, second] = server.sent("publish");
  assert.deepEqual(first, second);
  server.link.on.close(1006, "");
  await server.after(9 * 60_000);
  await server.welcome();
  await assert.rejects(p, { code: "unknown" });
});

test("what never went out waits as long as it takes", async (t) => {
  const server = new Server(t);
  const s = server.client();
  const p = s.publish(to, 1);
  await server.after(3_600_000);
  await server.welcome();
  answer(server, server.sent("publish")[0]);
  await p;
});

test("a refusal for now is tried again, before what comes behind it; any other one is told", async (t) => {
  const server = new Server(t);
  const s = server.client();
  await server.welcome();
  const [a, b] = [s.publish(to, "a"), s.publish(to, "b")];
  server.say({ type: "error", ref: "p1", code: "unavailable", message: "later" });
  assert.equal(server.sent("publish").length, 1);
  await server.after(2000);
  assert.deepEqual(server.sent("publish").map((f) => f.data), ["a", "a"]);
  answer(server, server.sent("publish")[1]);
  await a;
  server.say({ type: "error", ref: "p2", code: "forbidden", message: "no" });
  await assert.rejects(b, { code: "forbidden", message: "no" });
});

test("the queue is bounded in number and bytes, also of what is larger than a message", async (t) => {
  const server = new Server(t);
  const s = server.client({ queue: { count: 3, bytes: 9000 } });
  const stop = new AbortController();
  const one = s.publish(to, "x".repeat(6000));
  await assert.rejects(s.publish(to, "x".repeat(4000)), { code: "queue_full" });
  const two = s.publish(to, 2, { signal: stop.signal });
  const three = s.publish(to, 3);
  await assert.rejects(s.publish(to, 4), { code: "queue_full" });
  stop.abort();
  await assert.rejects(two, { name: "AbortError" });
  const four = s.publish(to, 4);
  await server.welcome();
  await assert.rejects(one, { code: "too_large" });
  assert.equal(server.sent("publish")[0].data, 3);
  s.close();
  await assert.rejects(three, { code: "closed" });
  await assert.rejects(four, { code: "closed" });
  await assert.rejects(s.publish(to, 5), { code: "closed" });
  await settle();
});

test("calls go out one after the other, and over a break with the same id", async (t) => {
  const server = new Server(t);
  const s = server.client();
  const [a, b] = [s.call("chat.say", { text: "a" }), s.call("chat.say", "b", { id: "mine" })];
  s.publish(to, "beside them").catch(() => {});
  await server.welcome();
  const [first] = server.sent("call");
  assert.deepEqual({ ...first, id: 0 }, { type: "call", ref: "c1", name: "chat.say", id: 0, data: { text: "a" } });
  assert.match(first.id, /^\d+(-\d+){3}$/);
  assert.deepEqual([server.sent("call").length, server.sent("publish").length], [1, 1]);
  await server.after(20_000); // a publish would go out again; of a call the server says when no answer comes
  assert.equal(server.sent("call").length, 1);
  server.link.on.close(1006, "");
  await server.after(2000);
  await server.welcome();
  assert.deepEqual(server.sent("call"), [first]);
  server.say({ type: "reply", ref: "c1", id: first.id, data: { ok: 1 } });
  assert.deepEqual(await a, { ok: 1 });
  server.say({ type: "reply", ref: server.sent("call")[1].ref, id: "mine" });
  assert.equal(await b, undefined);
  assert.deepEqual([server.sent("call")[1].id, server.sent("call")[1].data], ["mine", "b"]);
});

test("a call without an answer is not made again, one that came too soon is", async (t) => {
  const server = new Server(t);
  const s = server.client();
  await server.welcome();
  const [late, soon, refused] = [s.call("a"), s.call("b"), s.call("c")];
  server.say({ type: "error", ref: "c1", code: "unavailable", message: "no answer came in time" });
  await assert.rejects(late, { code: "unavailable", message: "no answer came in time" });
  server.say({ type: "error", ref: "c2", code: "rate_limited", message: "", retry_after_ms: 3000 });
  await server.after(2000);
  assert.deepEqual(server.sent("call").map((f) => f.name), ["a", "b"]);
  await server.after(2000);
  assert.deepEqual(server.sent("call").map((f) => f.name), ["a", "b", "b"]);
  server.say({ type: "reply", ref: "c2", id: "k", data: [] });
  assert.deepEqual(await soon, []);
  server.say({ type: "error", ref: "c3", code: "bad_request", message: "no function" });
  await assert.rejects(refused, { code: "bad_request" });
});

test("a call ends with its signal or after its time, and those behind it go on", async (t) => {
  const server = new Server(t);
  const s = server.client({ queue: { count: 4 } });
  await server.welcome();
  const stop = new AbortController();
  const calls = [s.call("a", 1, { signal: stop.signal }), s.call("b", 1, { timeout: 20 }), s.call("c")];
  await assert.rejects(s.call("d", 1, { signal: AbortSignal.abort() }), { name: "AbortError" });
  stop.abort();
  await assert.rejects(calls[0], { name: "AbortError" });
  let why; // waited for like this, since that timer keeps no process alive
  calls[1].catch((error) => (why = error));
  while (!why) await settle();
  assert.equal(why.name, "TimeoutError");
  s.call("d").catch(() => {});
  await server.after(1000);
  assert.deepEqual(server.sent("call").map((f) => f.name), ["a", "c"]);
  server.link.on.close(1006, "");
  await server.after(10 * 60_000);
  await server.welcome();
  await assert.rejects(calls[2], { code: "unknown" });
  s.close();
  await assert.rejects(s.call("e"), { code: "closed" });
});
