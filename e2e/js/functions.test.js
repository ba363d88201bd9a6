// Functions: what clients get of them through every break, and the ones that the documents print.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHmac } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:http";
import { test } from "node:test";
import { Sluice } from "../../shared/client/js/src/sluice.js";
import { Sluice as Streaming } from "../../shared/client/js/src/stream.js";
import { functionExample, pushExample } from "./examples.js";
import { client, collect, FUNCTION_KEY, FUNCTION_SECRET, numbers, Proxy, startFunction, System, taken, token, until } from "./harness.js";

const withFunction = (t, url, kinds, more) => System.start(t, { SLUICE_FUNCTIONS: `${kinds}=${url}`, SLUICE_FUNCTION_SECRET: FUNCTION_SECRET, ...more });

/** A function of the test: what it answers is what answer gives for an event; heard has all events. */
async function serve(t, answer) {
  const heard = [];
  const server = createServer(async (request, response) => {
    let body = "";
    for await (const part of request) body += part;
    const event = JSON.parse(body);
    heard.push(event);
    response.end(JSON.stringify(await answer(event)));
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => (server.closeAllConnections(), server.close()));
  return { heard, url: `http://127.0.0.1:${server.address().port}` };
}

test("calls go over every break, in order, and no effect is doubled", async (t) => {
  const { heard, url } = await serve(t, ({ id, data }) => ({ reply: { got: data.data }, publish: [{ to: "topic:effects", data: id }] }));
  const system = await withFunction(t, url, "call");
  await system.gateway();
  const proxy = await Proxy.to(t, system.gateways[0].port);
  const s = client(t, proxy.url);
  const effects = collect(client(t, system.gateways[0].url), "topic:effects");
  await effects.subscription.ready;
  await taken(s, "n");
  await taken(client(t, system.gateways[1].url), "n");
  for (let n = 0; n < 30; n += 10) {
    const before = Promise.all(numbers(n + 1, n + 5).map((i) => s.call("n", i, { id: "k" + i })));
    if (n % 20) await until("some are heard", () => heard.some((e) => e.data.data === n + 2));
    proxy.port = system.gateways[(n / 10) % 2].port;
    proxy.cut();
    const after = Promise.all(numbers(n + 6, n + 10).map((i) => s.call("n", i, { id: "k" + i })));
    assert.deepEqual([...(await before), ...(await after)], numbers(n + 1, n + 10).map((got) => ({ got })));
  }
  const firsts = new Map(heard.filter((e) => e.data.data).map((e) => [e.id, e.data.data]));
  assert.deepEqual([...firsts.values()], numbers(1, 30), "the function heard all, in order, under one id each");
  await until("each has one effect", () => effects.filter((id) => / k\d/.test(id)).length >= 30);
  assert.deepEqual(effects.filter((id) => / k\d/.test(id)), [...firsts.keys()]);
});

test("a call that is not allowed, not taken or not answered is told", async (t) => {
  const { heard, url } = await serve(t, ({ data }) => data.name === "ask.slow" ? new Promise(() => {}) : { reply: data.data });
  const system = await withFunction(t, url, "call:ask.*", { SLUICE_CALL_TIMEOUT: "1s" });
  for (const [Client, transport] of [[Sluice], [Streaming, "sse"]]) {
    const s = client(t, system.gateways[0].url, {
      ...(transport && { transport }), getToken: () => token("alice", 3600, { call: ["ask.*", "other"], publish: ["topic:warm"] }),
    }, Client);
    await taken(s, "ask.x");
    assert.equal(await s.call("ask.nothing"), undefined);
    assert.deepEqual(await s.call("ask.something", { by: transport }, { id: "mine " + transport }), transport ? { by: transport } : {});
    assert.ok(heard.some((e) => e.id === "call:alice mine " + transport && e.data.transport === (transport ? "http" : "ws")));
    await assert.rejects(s.call("secret"), { code: "forbidden" });
    await assert.rejects(s.call("other"), { code: "bad_request" });
    await assert.rejects(s.call("ask.slow"), { code: "unavailable" });
  }
});

const python = (() => {
  try {
    execFileSync("python3", ["--version"]);
    return false;
  } catch {
    return "SKIP: no python3 on the PATH";
  }
})();

for (const [language, program, args, skip] of [["js", process.execPath, process.execArgv, false], ["python", "python3", [], python]]) {
  test(`the function that the documents print in ${language} is a chat`, { skip }, async (t) => {
    const text = functionExample(language);
    assert.ok(text.split("\n").length <= 41, "it has at most forty lines");
    const { url } = await startFunction(t, program, args, text);
    const system = await withFunction(t, url, "call+disconnected");
    const nobody = () => token("mallory", 3600, { call: ["chat.*"] });
    const alice = client(t, system.gateways[0].url);
    const bob = client(t, system.gateways[0].url, { getToken: () => token("bob", 3600, { call: ["chat.*"], subscribe: ["topic:chat.*"] }) });
    await taken(alice, "chat.say");
    const got = collect(alice, "topic:chat.1");
    await got.subscription.ready;
    assert.deepEqual(await bob.call("chat.say", { text: "too early" }), { error: "join a room first" });
    assert.deepEqual(await bob.call("chat.join", { room: "1" }), { room: "1" });
    assert.deepEqual(await bob.call("chat.say", { text: "hi" }), { room: "1" });
    for (const odd of [null, 7, "text", [], { room: {} }]) await client(t, system.gateways[0].url, { getToken: nobody }).call("chat.join", odd);
    bob.close();
    await until("bob has left", () => got.some((e) => e.who === "user:bob" && e.text === "has left"));
    assert.deepEqual(got.filter((e) => e.who === "user:bob").map((e) => e.text), ["is here", "hi", "has left"]);
    await refusesForgeries(url);
  });
}

test("the function that the documents print tells a push service of what nobody has read", { skip: python }, async (t) => {
  const pushes = [];
  const service = createServer(async (request, response) => {
    let body = "";
    for await (const part of request) body += part;
    pushes.push({ to: decodeURIComponent(request.url.slice(1)), key: request.headers["idempotency-key"], body });
    response.writeHead(pushes.length > 1 ? 200 : 503).end();
  }).listen(0, "127.0.0.1");
  await once(service, "listening");
  t.after(() => (service.closeAllConnections(), service.close()));
  const { url } = await startFunction(t, "python3", [], pushExample().replace("https://push.example.com", `http://127.0.0.1:${service.address().port}`));
  const system = await withFunction(t, url, "unread");
  const response = await fetch(system.gateways[0].url + "/v1/events", {
    method: "POST", headers: { authorization: "Bearer " + token("shop") }, body: JSON.stringify({ to: "user:bob/1", data: { text: "lunch?" }, unread: "1s" }),
  });
  const { id } = await response.json();
  assert.equal(response.status, 200);
  await until("it was pushed, and again when that failed", () => pushes.length > 1);
  const push = { to: "user:bob/1", key: "unread:bob/1 " + id, body: '{"text": "lunch?"}' };
  assert.deepEqual(pushes, [push, push]);
  await refusesForgeries(url);
});

async function refusesForgeries(url) {
  const body = JSON.stringify({ id: "x", type: "sluice.call", subject: "user:x", data: { state: null } });
  const post = async (age, key, sent = body) => {
    const time = Math.floor(Date.now() / 1000) - age;
    const signature = "v1," + createHmac("sha256", key).update(`x.${time}.${body}`).digest("base64");
    const headers = { "webhook-id": "x", "webhook-timestamp": String(time), "webhook-signature": "v1,other " + signature };
    return (await fetch(url, { method: "POST", headers, body: sent })).status;
  };
  assert.equal(await post(0, FUNCTION_KEY), 200);
  assert.equal(await post(0, "another key"), 401);
  assert.equal(await post(0, FUNCTION_KEY, body + " "), 401);
  assert.equal(await post(3600, FUNCTION_KEY), 401);
}
