import assert from "node:assert/strict";
import { test } from "node:test";
import { Server, settle } from "./fake.js";

const [to, other] = ["topic:a", "topic:b"];

test("what was left without a connection is not acknowledged on one that does not know it", async (t) => {
  const server = new Server(t);
  const s = server.client({ autoAck: true });
  let done;
  const subscription = s.subscribe(to, () => new Promise((r) => (done = r)));
  s.subscribe(other, () => {});
  await server.welcome();
  for (const target of [to, other]) server.subscribed(target, "1-0");
  server.event(to, 2);
  server.link.on.close(1006, "");
  done();
  await settle();
  subscription.unsubscribe();
  await server.welcome();
  server.say({ type: "subscribed", to: other, position: "1-0", recovered: true });
  server.event(other, 2);
  await server.after(1000);
  assert.deepEqual(server.sent("ack"), [{ type: "ack", to: other, id: "2-0" }]);
});

test("what was left on a connection can be acknowledged there", async (t) => {
  const server = new Server(t);
  const s = server.client({ device: "d", autoAck: false });
  const stop = new AbortController();
  let event;
  s.subscribe(to, (e) => void (event = e), { signal: stop.signal });
  await server.welcome();
  server.subscribed(to, "1-0");
  server.event(to, 2);
  await settle();
  stop.abort();
  s.ack(event);
  await server.after(1000);
  assert.deepEqual(server.sent("ack"), [{ type: "ack", to, id: "2-0" }]);
});

test("a device goes on where it stood or, if that is further, at its cursor, and knows nothing of what it unsubscribed without a connection", async (t) => {
  const server = new Server(t);
  const s = server.client({ device: "d" });
  await server.welcome();
  const stops = [to, other].map((target) => {
    const stop = new AbortController();
    s.subscribe(target, () => {}, { signal: stop.signal });
    server.subscribed(target, "1-0");
    server.event(target, 2);
    return stop;
  });
  const over = s.subscribe("topic:over", () => {});
  server.subscribed("topic:over", "1-0");
  server.event("topic:over", 2);
  await settle();
  for (const stop of stops) stop.abort();
  server.link.on.close(1006, "");
  over.unsubscribe();
  await server.welcome();
  for (const [target, position] of [[to, "1-0"], [other, "3-0"], ["topic:over", "1-0"]]) {
    server.say({ type: "subscribed", to: target, position, recovered: true });
  }
  const [{ ref }] = server.sent("unsubscribe");
  server.say({ type: "unsubscribed", ref, to: "topic:over" });
  for (const target of [to, other, "topic:over"]) s.subscribe(target, () => {});
  assert.deepEqual(server.sent("subscribe").map((f) => f.after), ["2-0", "3-0", undefined]);
});

test("a device that subscribes again begins from then on, though the link broke before its cursor had ended", async (t) => {
  const server = new Server(t);
  const s = server.client({ device: "d" });
  const got = [];
  const take = (e) => void got.push(e.data ?? e.reason);
  const first = s.subscribe(to, take);
  await server.welcome();
  server.subscribed(to, "1-0");
  server.event(to, 2);
  await settle();
  first.unsubscribe();
  server.link.on.close(1006, "");
  const again = s.subscribe(to, take, { onGap: take });
  await server.welcome();
  server.say({ type: "gap", to, after: "1-0", oldest: "3-0", position: "2-0", reason: "trimmed" });
  server.say({ type: "subscribed", to, position: "2-0", recovered: false }); // where the cursor is
  server.event(to, 3);
  server.say({ type: "error", ref: server.sent("unsubscribe")[0].ref, code: "unavailable", message: "later" });
  await server.after(1000);
  assert.equal(server.sent("subscribe").length, 0);
  server.say({ type: "unsubscribed", ref: server.sent("unsubscribe")[1].ref, to });
  assert.deepEqual(server.sent("subscribe").map((f) => f.after), [undefined]);
  server.subscribed(to, "5-0");
  server.event(to, 6);
  assert.equal(await again.ready, "5-0");
  await settle();
  assert.deepEqual(got, [2, 6]);
});

test("what a device unsubscribed and every connection has all the same begins with the next one", async (t) => {
  const server = new Server(t);
  const s = server.client({ device: "d" });
  const got = [];
  s.subscribe("user:alice", () => {}).unsubscribe();
  s.subscribe("user:alice", (e) => void got.push(e.data));
  await server.welcome();
  server.say({ type: "subscribed", to: "user:alice", position: "1-0", recovered: true });
  server.event("user:alice", 2);
  await settle();
  assert.deepEqual([got, server.sent("unsubscribe").length], [[2], 0]);
});

test("what the server cannot take now is acknowledged again", async (t) => {
  const server = new Server(t);
  const s = server.client({ device: "d" });
  s.subscribe(to, () => {});
  await server.welcome();
  server.subscribed(to, "1-0");
  server.event(to, 2);
  await server.after(1000);
  server.say({ type: "error", code: "unavailable", message: "too many acknowledgements wait; acknowledge again" });
  await server.after(900);
  assert.equal(server.sent("ack").length, 1);
  await server.after(5000);
  assert.deepEqual(server.sent("ack"), [{ type: "ack", to, id: "2-0" }, { type: "ack", to, id: "2-0" }]);
  assert.equal(server.sent("subscribe").length, 1);
});

test("a gap behind a position that is not its own any more is none", async (t) => {
  const server = new Server(t);
  const s = server.client({ device: "d" });
  const got = [];
  s.subscribe(to, (e) => void got.push(e.data), { after: "1-0", onGap: (gap) => void got.push(gap.reason) });
  await server.welcome();
  server.say({ type: "subscribed", to, position: "5-0", recovered: true }); // where the device's cursor is
  server.event(to, 6);
  server.say({ type: "gap", to, after: "1-0", oldest: "4-0", position: "8-0", reason: "trimmed" }); // the answer to what was asked
  server.subscribed(to, "8-0", { ref: "s1" });
  assert.deepEqual(server.sent("subscribe").map((f) => f.after), ["1-0", "6-0"]);
  server.subscribed(to, "6-0");
  server.event(to, 7);
  await settle();
  assert.deepEqual(got, [6, 7]);
});

test("who comes while events wait is told the position of those that it gets", async (t) => {
  const server = new Server(t);
  const s = server.client();
  const got = [];
  let done;
  s.subscribe(to, () => new Promise((r) => (done = r)));
  await server.welcome();
  server.subscribed(to, "1-0");
  for (const n of [2, 3, 4]) server.event(to, n);
  const late = s.subscribe(to, (e) => void got.push(e.id));
  assert.equal(await late.ready, "2-0");
  for (let n = 0; n < 3; n++) {
    done();
    await settle();
  }
  assert.deepEqual(got, ["3-0", "4-0"]);
});
