// Tabs of a real browser that share one connection.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Browser, findChromium } from "./browser.js";
import { tabsExamples } from "./examples.js";
import { FUNCTION_SECRET, numbers, Proxy, serveSite, System, until } from "./harness.js";

const skip = findChromium() ? false : "SKIP: no chromium on the PATH (Debian: apt-get install chromium)";
const cleanups = [];
const t = { after: (f) => cleanups.push(f) };
let system, proxy, browser, site, release;

// Each test has a user, a worker and a topic of its own, of its name.
const client = (user, options) => `new Sluice({ url: "${proxy.url}", getToken: () => "dev:${user}", backoff: { min: 20, max: 100 }, ...${options} })`;
const worker = (user, options, serving) => `
  import { Sluice } from "${proxy.url}/sluice.js";
  import { serve } from "${proxy.url}/sluice-tabs.js";
  serve(${client(user, options)}, ${serving});`;
async function answer(request, response) {
  let text = "";
  for await (const part of request) text += part;
  response.end(JSON.stringify({ reply: JSON.parse(text).data.data }));
}
function printed(path, response) {
  const [worker, tab] = tabsExamples().map((text) =>
    text.replaceAll(/"@sluice\/client(\/tabs)?"/g, (_, tabs) => `"${proxy.url}/sluice${tabs ? "-tabs" : ""}.js"`).replaceAll("http://127.0.0.1:8080", proxy.url));
  if (path.endsWith("worker.js")) response.setHeader("Content-Type", "text/javascript").end(worker);
  else response.end(`<!doctype html><body><script type="module">${tab}; window.sluice = sluice;</script>`);
}
const page = (user, query, set) => `<!doctype html><meta charset="utf-8"><title>test</title><body><script type="module">
  import { Sluice } from "${proxy.url}/sluice.js";
  import { tabs } from "${proxy.url}/sluice-tabs.js";
  Object.assign(window, { got: [], gaps: [], errors: [], states: [], restored: 0, handle: () => {}, tabs });
  addEventListener("pageshow", (e) => { if (e.persisted) restored++; });
  ${set};
  window.sluice = tabs(() => new SharedWorker("/worker?" + ${JSON.stringify(query)}, { type: "module" }), () => ${client(user, "{}")});
  sluice.on("state", ({ state }) => { states.push(state); });
  sluice.on("gap", (gap) => { gaps.push(gap); });
  sluice.on("error", ({ error }) => { errors.push(error.code ?? String(error)); });
  window.subscription = sluice.subscribe("topic:${user}", (e) => { got.push(e.data); return handle(e); });
  subscription.ready.then((position) => { window.position = position; });
</script>`;

before(async () => {
  if (skip) return;
  site = await serveSite(t, (request, response) => {
    const { pathname, search, searchParams: q } = new URL(request.url, "http://localhost");
    const [user, options, serving] = [q.get("user"), q.get("options") ?? "{}", q.get("serving") ?? "{}"];
    response.setHeader("Content-Type", pathname === "/worker" ? "text/javascript" : "text/html");
    if (pathname === "/worker") response.end(worker(user, options, serving));
    else if (pathname === "/function") answer(request, response);
    else if (pathname === "/hold") release = () => response.end();
    else if (pathname === "/page") response.end(page(user, search.slice(1).replace(/&set=.*/, ""), q.get("set") ?? ""));
    else if (pathname.startsWith("/printed")) printed(pathname, response);
    else response.end("<!doctype html><title>elsewhere</title>");
  });
  system = await System.start(t, { SLUICE_AUTH: "dev", SLUICE_ALLOWED_ORIGINS: site, SLUICE_PING_INTERVAL: "2s",
    SLUICE_FUNCTIONS: `call:echo=${site}/function`, SLUICE_FUNCTION_SECRET: FUNCTION_SECRET });
  proxy = await Proxy.to(t, system.gateways[0].port);
  browser = await Browser.start(t);
}, { timeout: 60_000 });
after(async () => {
  for (const f of cleanups.reverse()) await f();
});

const address = (user, { options = "{}", serving = "{}", set = "" } = {}) =>
  `${site}/page?user=${user}&options=${encodeURIComponent(options)}&serving=${encodeURIComponent(serving)}&set=${encodeURIComponent(set)}`;

async function open(user, how) {
  const tab = await browser.open(address(user, how));
  await tab.wait("window.position");
  return tab;
}

const all = (tabs, f) => Promise.all(tabs.map(f));
const add = (user, ...data) => all(data, (n) => system.add("topic:" + user, n));

/** The user's connections, as the gateway has them. */
async function connections(user) {
  const r = await fetch(`${system.gateways[0].url}/v1/users/${user}`, { headers: { Authorization: "Bearer dev:" + user } });
  return (await r.json()).connections;
}

test("tabs share one connection; each of them gets all in order, and publishes", { skip }, async () => {
  const tabs = [await open("one"), await open("one"), await open("one")];
  await add("one", ...numbers(1, 20));
  const published = await tabs[1].eval(`sluice.publish("topic:one", 21)`);
  assert.equal(published.duplicate, false);
  for (const tab of tabs) await tab.wait("got.length === 21");
  for (const tab of tabs) assert.deepEqual(await tab.eval("got"), numbers(1, 21));
  assert.equal((await connections("one")).length, 1);
  assert.deepEqual(browser.complaints, []);
});

test("a function's reply comes as it is", { skip }, async () => {
  const tab = await open("calls");
  await until("calls are taken", () => tab.eval(`sluice.call("echo", true)`));
  const replies = [7, "text", null, { error: { code: "mine", message: "none of the client" } }, [1]];
  for (const reply of replies) assert.deepEqual(await tab.eval(`sluice.call("echo", ${JSON.stringify(reply)})`), reply);
});

test("what is refused is told to the tab that asked, with its code", { skip }, async () => {
  const tabs = [await open("refused"), await open("refused")];
  const codes = await tabs[0].eval(`Promise.all([
    sluice.publish("topic:refused", "x".repeat(100_000)), sluice.call("nothing"), sluice.subscribe("nothing").ready,
    sluice.publish("topic:refused", 1, { signal: AbortSignal.abort("stopped") }), sluice.call("nothing", 1n),
  ].map((p) => p.catch((error) => error.code ?? error.name ?? error)))`);
  assert.deepEqual(codes, ["too_large", "bad_request", "bad_request", "stopped", "TypeError"]);
});

test("tabs that are closed, crash and are reloaded in the middle leave the others whole", { skip }, async () => {
  const [stays, closes, crashes, reloads] = await all([1, 2, 3, 4], () => open("middle"));
  let n = 0;
  let over;
  const stream = (async () => {
    while (!over || n % 100) await add("middle", ++n);
  })();
  const later = (tab, more) => tab.eval("got.length").then((had) => tab.wait(`got.length > ${had + more}`));
  await later(stays, 50);
  await closes.close();
  await later(stays, 50);
  crashes.crash();
  await later(stays, 50);
  const before = await reloads.eval("got");
  await reloads.call("Page.reload");
  await until("it is back", () => reloads.eval("window.position"));
  await all([stays, reloads], (tab) => later(tab, 50));
  over = true;
  await stream;
  await all([stays, reloads], (tab) => tab.wait(`got.at(-1) === ${n}`));
  assert.deepEqual(await stays.eval("got"), numbers(1, n));
  const [first] = await reloads.eval("got");
  assert.deepEqual(await reloads.eval("got"), numbers(first, n), "it begins anew, and is whole from there");
  assert.ok(first > before.at(-1), `${first} came again`);
  assert.deepEqual([await stays.eval("[gaps, errors]"), (await connections("middle")).length], [[[], []], 1]);
});

test("a position is acknowledged when all tabs have handled it, or are gone", { skip }, async () => {
  const how = { options: `{ device: "d" }` };
  const never = "window.handle = () => new Promise((done) => { window.done = done; })";
  const tabs = [await open("acks", how), await open("acks", { ...how, set: never }), await open("acks", { ...how, set: never })];
  const cursor = () => system.redis("HGET", system.key("user:acks", "cursor"), "d topic:acks");
  const begin = await cursor();
  const [id] = await add("acks", 1, 2);
  await all(tabs, (tab) => tab.wait("got.length === 1"));
  await tabs[1].eval("done()");
  assert.deepEqual([await cursor(), await tabs[0].eval("got.length")], [begin, 1], "the third has not handled it");
  tabs[2].crash();
  await until("it is acknowledged", async () => (await cursor()) === id);
  await all(tabs.slice(0, 2), (tab) => tab.wait("got.length === 2"));
  await tabs[1].eval("subscription.unsubscribe()");
  await until("the one that waits has left", async () => (await cursor()) > id);
});

test("a target is left when its last tab has left it, and comes again whole", { skip }, async () => {
  const tabs = [await open("leave"), await open("leave")];
  const subscribed = () => system.redis("EXISTS", system.key("topic:leave", "session"));
  await tabs[0].eval("subscription.unsubscribe()");
  await add("leave", 1);
  await tabs[1].wait("got.length === 1");
  await tabs[1].eval(`window.stop = new AbortController(); sluice.subscribe("topic:leave", { signal: stop.signal }); subscription.unsubscribe(); stop.abort()`);
  await until("it is not subscribed", async () => (await subscribed()) === "0");
  await add("leave", 2);
  await until("it is in the history", async () => (await system.redis("XLEN", system.key("topic:leave", "history"))) === "2");
  await tabs[0].eval(`(async () => { for await (const { data } of sluice.subscribe("topic:leave")) if (got.push(data) === 2) break; got.push("over"); })(), 1`);
  await tabs[0].wait("got.includes(2)");
  await add("leave", 3);
  await tabs[0].wait("got.includes('over')");
  assert.deepEqual([await tabs[0].eval("got"), await tabs[1].eval("got")], [[2, 3, "over"], [1]], "the signal kept the position");
  await until("it is not subscribed", async () => (await subscribed()) === "0");
});

test("a tab that hangs is left out after a while, and is given or told what it missed; the others go on", { skip }, async () => {
  const how = { serving: "{ patience: 4000 }" };
  const hangs = (how) => `window.handle = (e) => { if (e.data === 2) ${how}; }`;
  const goes = await open("hangs", how);
  const frozen = await open("hangs", { ...how, set: hangs(`{ const x = new XMLHttpRequest(); x.open("GET", "/hold", false); x.send(); }`) });
  const waits = await open("hangs", { ...how, set: hangs("return new Promise((done) => { window.done = done; })") });
  await add("hangs", ...numbers(1, 20));
  await goes.wait("got.length === 20");
  release();
  await frozen.wait("got.length === 20");
  assert.deepEqual(await frozen.eval("[got, gaps, errors]"), [numbers(1, 20), [], ["late"]]);
  assert.deepEqual(await waits.eval("[got, gaps, errors]"), [[1, 2], [], ["late"]]);
  const big = Array(30).fill("x".repeat(50_000)); // more than the worker keeps
  const last = (await add("hangs", ...big)).at(-1);
  await goes.wait("got.length === 50");
  await waits.eval("done()");
  await waits.wait("gaps.length");
  await add("hangs", 21);
  for (const tab of [goes, frozen, waits]) await tab.wait("got.at(-1) === 21");
  const [got, [gap], errors] = await waits.eval("[got, gaps, errors]");
  assert.deepEqual([got, gap.position, gap.reason, errors], [[1, 2, 21], last, "late", ["late"]]);
  assert.deepEqual(await goes.eval("[got, gaps, errors]"), [[...numbers(1, 20), ...big, 21], [], []]);
});

test("a connection that is cut is taken again, by all tabs; what a tab published that was closed goes out then", { skip }, async () => {
  const [goes, ...tabs] = [await open("cut"), await open("cut"), await open("cut")];
  for (let n = 1; n <= 40; n += 4) {
    await add("cut", n, n + 1);
    proxy.cut();
    await add("cut", n + 2, n + 3);
    await all(tabs, (tab) => tab.wait(`got.length === ${n + 3}`));
  }
  const { port } = proxy;
  proxy.port = 0;
  proxy.cut();
  await all(tabs, (tab) => tab.wait("sluice.state !== 'connected'"));
  await goes.eval(`sluice.publish("topic:cut", 41), 1`);
  await goes.close();
  proxy.port = port;
  await all(tabs, (tab) => tab.wait("got.length === 41"));
  for (const tab of tabs) assert.deepEqual(await tab.eval("[got, gaps, errors]"), [numbers(1, 41), [], []]);
});

test("a worker that dies is replaced, and nothing is lost or repeated", { skip }, async () => {
  const tabs = await all([1, 2, 3], () => open("dies"));
  for (let n = 1; n <= 100; n += 20) {
    const added = (async () => {
      for (const i of numbers(n, n + 19)) await add("dies", i);
    })();
    const published = all(tabs, (tab, i) => tab.eval(`sluice.publish("topic:other", ${n})`));
    assert.equal(await browser.endWorkers("user=dies"), 1);
    await added;
    assert.deepEqual((await published).map(({ to }) => to), Array(3).fill("topic:other"));
    await all(tabs, (tab) => tab.wait(`got.at(-1) === ${n + 19}`));
  }
  for (const tab of tabs) assert.deepEqual(await tab.eval("[got, gaps, errors]"), [numbers(1, 100), [], []]);
  assert.equal((await connections("dies")).length, 1);
});

test("a page that is put away or frozen comes back with what it missed, and holds nobody up", { skip }, async () => {
  const stays = await open("away");
  const tab = await open("away");
  await tab.go(site + "/elsewhere");
  await until("it is elsewhere", async () => (await tab.eval("document.title")) === "elsewhere");
  await add("away", 1);
  await stays.wait("got.length === 1");
  await tab.eval("history.back()");
  await until("it is back", async () => (await tab.eval("document.title")) === "test");
  await tab.wait("got.length === 1");
  await tab.call("Page.setWebLifecycleState", { state: "frozen" });
  await add("away", 2);
  await stays.wait("got.length === 2");
  await tab.call("Page.setWebLifecycleState", { state: "active" });
  await tab.wait("got.length === 2");
  await tab.call("Page.setWebLifecycleState", { state: "frozen" });
  await stays.close();
  await until("who serves nobody has no connection", async () => (await connections("away")).length === 0);
  await add("away", 3);
  await tab.call("Page.setWebLifecycleState", { state: "active" });
  await tab.wait("got.length === 3");
  assert.deepEqual(await tab.eval("[restored, got, gaps, errors]"), [1, [1, 2, 3], [], []]);
});

test("a tab that is alone goes on where it was when it is reloaded, by the device", { skip }, async () => {
  const handle = `window.handle = (e) => { sessionStorage.reload = [sessionStorage.reload, e.data]; setTimeout(() => location.reload()); }`;
  const tab = await open("reload", { options: `{ device: "d" }`, set: handle });
  await add("reload", ...numbers(1, 8));
  await until("it has the last", () => tab.eval("sessionStorage.reload?.endsWith(8)"));
  assert.equal(await tab.eval("sessionStorage.reload"), "," + numbers(1, 8));
});

test("a tab without a SharedWorker has a connection of its own", { skip }, async () => {
  const tabs = [await open("alone"), await open("alone", { set: "delete window.SharedWorker" })];
  await add("alone", 1);
  for (const tab of tabs) await tab.wait("got.length === 1");
  assert.equal((await connections("alone")).length, 2);
});

test("a worker that does not start is told", { skip }, async () => {
  const tab = await open("starts");
  const code = await tab.eval(`new Promise((heard) => {
    const s = tabs(() => new SharedWorker("/nothing", { type: "module" }));
    s.on("error", ({ error }) => (s.close(), heard(error.code)));
  })`);
  assert.equal(code, "worker");
});

test("a tab is closed alone; a client that ends, with all its tabs and its worker", { skip }, async () => {
  const tabs = [await open("over"), await open("over")];
  await tabs[0].eval(`sluice.close(), sluice.publish("topic:over", 1).catch((error) => errors.push(error.code))`);
  await add("over", 1);
  await tabs[1].wait("got.length === 1");
  assert.deepEqual(await tabs[0].eval("[got, errors, sluice.state]"), [[], ["closed"], "closed"]);
  await fetch(`${system.gateways[0].url}/v1/users/over/connections`, { method: "DELETE", headers: { Authorization: "Bearer dev:over" } });
  await tabs[1].wait("sluice.state === 'closed'");
  assert.deepEqual(await tabs[1].eval("errors"), [4503]);
  const next = await open("over");
  await add("over", 2);
  await next.wait("got.length === 1");
});

test("the worker and the tab that README prints", { skip }, async () => {
  assert.equal(tabsExamples().length, 2);
  const tabs = await all([1, 2], () => browser.open(site + "/printed/page"));
  await all(tabs, (tab) => tab.wait("window.sluice?.state === 'connected'"));
  await until("both show what is added", async () => { // until they have subscribed, events come again
    await system.add("topic:room-1", { text: "from Redis" });
    return (await all(tabs, (tab) => tab.eval("document.body.innerText.includes('from Redis')"))).every(Boolean);
  });
  assert.equal((await connections("alice")).length, 1);
});
