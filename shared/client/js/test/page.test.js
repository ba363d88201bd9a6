import assert from "node:assert/strict";
import { test } from "node:test";
import { Server } from "./fake.js";

// A client in a page, of which the test makes the events.
async function inPage(t) {
  const [page, events] = [Object.assign(new EventTarget(), { visibilityState: "visible" }), new EventTarget()];
  Object.assign(globalThis, { document: page, addEventListener: events.addEventListener.bind(events) });
  t.after(() => {
    delete globalThis.document;
    delete globalThis.addEventListener;
  });
  const server = new Server(t);
  const s = server.client();
  await server.welcome();
  const happen = (target, type, more) => target.dispatchEvent(Object.assign(new Event(type), more));
  return { server, s, page: (type) => happen(page, type), window: (type, more) => happen(events, type, more) };
}

test("a page that is shown, or online, again asks whether the link is there, and leaves it soon", async (t) => {
  const { server, s, page, window } = await inPage(t);
  page("visibilitychange");
  assert.equal(server.sent("ping").length, 1);
  server.say({ type: "pong" });
  window("online");
  assert.equal(server.sent("ping").length, 2);
  await server.after(7000);
  assert.ok(server.links[0].closed);
  assert.equal(s.states.find((e) => e.state === "waiting").reason, "the link is dead");
});

test("a page that waits tries at once when it is shown, and soon when it is online, but not before goaway says", async (t) => {
  const { server, s, page, window } = await inPage(t);
  t.mock.method(Math, "random", () => 0.5);
  server.link.on.close(1006, "");
  page("visibilitychange");
  assert.equal(s.states.at(-1).retryInMs, 0);
  await server.welcome();
  server.link.on.close(1006, "");
  window("online");
  assert.equal(s.states.at(-1).retryInMs, 750);
  await server.welcome();
  server.say({ type: "goaway", after_ms: 60_000 });
  server.link.on.close(1012, "");
  page("visibilitychange");
  window("online");
  assert.equal(s.states.at(-1).retryInMs, 60_000);
});

test("a page that is put away leaves, and comes back when it is restored", async (t) => {
  const { server, s, page, window } = await inPage(t);
  for (const [away, back] of [[() => window("pagehide"), () => window("pageshow", { persisted: true })], [() => page("freeze"), () => page("resume")]]) {
    const { link } = server;
    away();
    assert.ok(link.closed);
    await server.after(60_000);
    assert.equal(server.link, link, "it does not come back by itself");
    back();
    await server.welcome();
    assert.equal(s.state, "connected");
  }
  s.close();
  window("pageshow", { persisted: true });
  await server.after(60_000);
  assert.deepEqual([s.state, server.links.length], ["closed", 3]);
});
