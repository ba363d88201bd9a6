import assert from "node:assert/strict";
import { test } from "node:test";
import { Server, settle } from "./fake.js";

test("it says who it is and what it has, as far as there is room in a message", async (t) => {
  const server = new Server(t);
  const s = server.client({ device: "d 1", retained: true });
  for (let n = 0; n < 200; n++) s.subscribe("topic:" + n, () => {});
  await server.welcome();
  assert.deepEqual(server.link.request.hello, { type: "connect", token: "token", device: "d 1", resume: {}, on_gap: "retained" });
  assert.equal(server.link.request.query, "?device=d%201&resume=device");
  for (let n = 0; n < 200; n++) server.subscribed("topic:" + n, "1700000000000-0");
  server.link.on.close(1006, "");
  await server.after(2000);
  const { resume } = server.link.request.hello;
  assert.ok(JSON.stringify(server.link.request.hello).length < 5000);
  await server.welcome();
  const asked = server.sent("subscribe");
  assert.ok(Object.keys(resume).length > 50 && asked.length > 20);
  assert.equal(Object.keys(resume).length + asked.length, 200);
  assert.ok(asked.every((f) => f.after === "1700000000000-0" && !(f.to in resume)));
});

test("targets of `connect` are asked for one by one if one of them is refused", async (t) => {
  const server = new Server(t);
  const s = server.client();
  const [a] = [s.subscribe("topic:a"), s.subscribe("topic:b")];
  await server.welcome();
  server.subscribed("topic:a", "1-0");
  server.subscribed("topic:b", "1-0");
  const resumed = [];
  s.on("resumed", (r) => resumed.push(r));
  server.link.on.close(1006, "");
  await server.after(2000);
  await server.welcome();
  assert.deepEqual(server.sent("subscribe"), []);
  server.say({ type: "error", code: "forbidden", message: "topic:b: no" });
  server.say({ type: "subscribed", to: "topic:a", position: "1-0", recovered: true }); // has been asked for again
  const [, second] = server.sent("subscribe");
  server.subscribed("topic:a", "1-0");
  server.say({ type: "error", ref: second.ref, code: "forbidden", message: "no" });
  assert.deepEqual(resumed, [{ targets: ["topic:a", "topic:b"], recovered: false }]);
  assert.equal(await a.ready, "1-0");
  assert.deepEqual(s.failures.map((f) => f.error.code), ["forbidden"]);
});

test("it comes back after a floor and a random part of what doubles", async (t) => {
  const server = new Server(t);
  t.mock.method(Math, "random", () => 0.5);
  const s = server.client({ backoff: { min: 100, max: 1000 } });
  const waits = [];
  for (let n = 0; n < 6; n++) {
    await settle();
    server.link.on.close(1006, "");
    waits.push(s.states.at(-1).retryInMs);
    await server.after(waits.at(-1));
  }
  assert.deepEqual(waits, [150, 200, 300, 500, 550, 550]);
  await server.welcome();
  await server.after(11_000);
  server.link.on.close(1013, "busy");
  assert.deepEqual(s.states.at(-1), { state: "waiting", code: 1013, reason: "busy", retryInMs: 150 });
});

test("it obeys goaway, also when the page wakes", async (t) => {
  const server = new Server(t);
  const s = server.client();
  await server.welcome();
  server.say({ type: "goaway", after_ms: 1700, reason: "this gateway restarts" });
  server.link.on.close(1012, "");
  assert.equal(s.states.at(-1).retryInMs, 1700);
  await server.after(1699);
  assert.equal(server.links.length, 1);
  await server.after(1);
  assert.equal(server.links.length, 2);
});

test("a listener may close the client", async (t) => {
  const server = new Server(t);
  const s = server.client({ onEvent: () => {}, topics: ["a"] });
  s.on("state", ({ state }) => state === "connected" && s.close());
  s.publish("topic:a", 1).catch(() => {});
  await server.welcome();
  assert.ok(server.link.closed);
  assert.deepEqual([s.states.map((e) => e.state), s.failures], [["connected", "closed"], []]);
});

test("close codes say whether to come back", async (t) => {
  for (const [code, state] of [
    [1000, "waiting"], [1001, "waiting"], [1005, "waiting"], [1011, "waiting"], [4001, "waiting"], [4003, "waiting"], [4401, "waiting"],
    [1002, "closed"], [1003, "closed"], [1007, "closed"], [1009, "closed"], [4500, "closed"], [4501, "closed"], [4503, "closed"],
  ]) {
    await t.test(String(code), async (t) => {
      const server = new Server(t);
      const s = server.client();
      await server.welcome();
      server.link.on.close(code, "why");
      assert.equal(s.state, state);
      if (state === "closed") assert.deepEqual([s.failures[0].error.code, s.failures[0].error.message], [code, "why"]);
    });
  }
});

test("a silent link is asked, and left without an answer", async (t) => {
  const server = new Server(t);
  const s = server.client();
  await server.welcome();
  await server.after(24_000);
  assert.deepEqual(server.sent("ping"), []);
  await server.after(2000);
  assert.equal(server.sent("ping").length, 1);
  server.say({ type: "pong" });
  await server.after(25_000);
  assert.equal(s.state, "connected");
  await server.after(1000);
  assert.equal(server.sent("ping").length, 2);
  const dead = server.link;
  await server.after(11_000);
  assert.ok(dead.closed);
  assert.equal(s.states.find((e) => e.state === "waiting").reason, "the link is dead");
  dead.on.frame("{"); // has nothing more to say
  dead.on.close(4503, "");
  assert.notEqual(s.state, "closed");
});

test("a server that does not welcome it, or a token that does not come, is given up", async (t) => {
  const server = new Server(t);
  const signals = [];
  let answer = () => new Promise(() => {});
  const s = server.client({ getToken: ({ signal }) => (signals.push(signal), answer()) });
  await server.after(16_000);
  assert.ok(signals[0].aborted && s.states.some((e) => e.reason === "no answer"));
  answer = () => "token";
  await server.after(1500);
  assert.equal(server.links.length, 1);
  await server.after(17_000);
  assert.ok(server.links[0].closed);
});

test("what cannot be read ends the connection, not the client", async (t) => {
  const server = new Server(t);
  const s = server.client();
  s.subscribe("topic:a", () => {});
  for (const text of ["", "null", "{", '{"type":"event","to":"topic:a","id":"x","prev":"1-0"}', '{"type":"event","to":"topic:a","id":{}}']) {
    await server.welcome();
    server.subscribed("topic:a", "1-0");
    const n = s.failures.length;
    server.link.on.frame(text);
    assert.deepEqual([s.state, s.failures.length], ["waiting", n + 1], text);
  }
  await server.welcome();
  server.link.on.frame('{"type":"something new","to":7}');
  assert.equal(s.state, "connected");
});

test("another user gets nothing of the one before, and the server is not told its positions", async (t) => {
  const server = new Server(t);
  const s = server.client({ device: "d" });
  const got = [];
  s.subscribe("topic:a", (e) => void got.push(e.data));
  await server.welcome();
  server.subscribed("topic:a", "5-0");
  const unsent = s.publish("topic:a", 1);
  server.link.on.close(1006, "");
  await server.after(2000);
  assert.deepEqual(server.link.request.hello.resume, { "topic:a": "5-0" });
  await server.welcome({ user: "bob" });
  await assert.rejects(unsent, { code: "user_changed" });
  assert.deepEqual([server.link.closed, server.sent("subscribe"), server.sent("publish")], [true, [], []]);
  await server.welcome({ user: "bob" });
  assert.deepEqual(server.link.request.hello.resume, {}); // it would count more than the cursors of this one's device
  assert.equal(server.sent("subscribe").at(-1).after, undefined);
  server.say({ type: "subscribed", to: "topic:a", position: "3-0", recovered: true }); // where bob's cursor is
  server.event("topic:a", 4);
  await settle();
  assert.deepEqual([got, s.failures.map((f) => f.error.code)], [[4], ["user_changed"]]);
});

test("an error without a ref is told, and harms no target", async (t) => {
  const server = new Server(t);
  const s = server.client();
  const got = [];
  s.subscribe("topic:a", (e) => void got.push(e.data));
  await server.welcome();
  server.subscribed("topic:a", "1-0");
  server.say({ type: "error", code: "bad_request", message: "this was not sent" });
  server.say({ type: "error", code: "unavailable", message: "later" });
  server.event("topic:a", 2);
  await server.after(5000);
  assert.deepEqual(got, [2]);
  assert.deepEqual(s.failures.map((f) => f.error.code), ["bad_request", "unavailable"]);
  assert.deepEqual([s.state, server.sent("subscribe").length, server.sent("unsubscribe").length], ["connected", 1, 0]);
});
