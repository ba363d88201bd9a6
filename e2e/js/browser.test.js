import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, test } from "node:test";
import { Browser, findChromium } from "./browser.js";
import { examples } from "./examples.js";
import { Proxy, serveSite, System, until } from "./harness.js";

const skip = findChromium() ? false : "SKIP: no chromium on the PATH (Debian: apt-get install chromium)";
const cleanups = [];
const t = { after: (f) => cleanups.push(f) };
let system, proxy, browser, site;

// A page of another origin than the gateways': what `Sluice` is given, and the module that it is from.
const page = (options, module) => `<!doctype html><meta charset="utf-8"><title>test</title><body><script type="module">
  import { Sluice } from "${proxy.url}/${module}.js";
  window.got = [];
  window.restored = 0;
  addEventListener("pageshow", (e) => { if (e.persisted) restored++; });
  window.sluice = new Sluice({ url: "${proxy.url}", getToken: () => fetch("/token").then((r) => r.text()), ...${options} });
  sluice.on("state", ({ state, transport }) => { Object.assign(document.body.dataset, { state, transport }); });
  const subscription = sluice.subscribe("topic:" + new URLSearchParams(location.search).get("topic"), (e) => { got.push(e.data); });
  subscription.ready.then(() => { document.body.dataset.ready = true; });
</script>`;

before(async () => {
  if (skip) return;
  site = await serveSite(t, (request, response) => {
    const url = new URL(request.url, "http://localhost");
    response.setHeader("Content-Type", "text/html");
    if (url.pathname === "/token") response.end("dev:alice");
    else if (url.pathname === "/page") response.end(page(url.searchParams.get("options") ?? "{}", url.searchParams.get("module") ?? "sluice"));
    else if (url.pathname === "/printed") response.end(examples("html")[0].replaceAll("http://127.0.0.1:8080", proxy.url));
    else response.end("<!doctype html><title>elsewhere</title>");
  });
  system = await System.start(t, { SLUICE_AUTH: "dev", SLUICE_ALLOWED_ORIGINS: site, SLUICE_PING_INTERVAL: "2s" });
  proxy = await Proxy.to(t, system.gateways[0].port);
  browser = await Browser.start(t);
}, { timeout: 60_000 });
after(async () => {
  for (const f of cleanups.reverse()) await f();
});

async function open(topic, options = "{}", module = "sluice") {
  const tab = await browser.open(`${site}/page?topic=${topic}&options=${encodeURIComponent(options)}&module=${module}`);
  await tab.wait("document.body?.dataset.ready");
  return tab;
}

test("a page of another origin gets what is added, in every tab, and publishes", { skip }, async () => {
  const tabs = [await open("tabs"), await open("tabs")];
  await system.add("topic:tabs", 1);
  const published = await tabs[1].eval(`sluice.publish("topic:tabs", 2)`);
  assert.equal(published.duplicate, false);
  for (const tab of tabs) await tab.wait("got.length === 2");
  for (const tab of tabs) assert.deepEqual(await tab.eval("got"), [1, 2]);
  assert.deepEqual(browser.complaints, []);
});

test("a reload goes on where the page was", { skip }, async () => {
  const tab = await open("reload", "{ storage: sessionStorage }");
  const id = await system.add("topic:reload", 1);
  await tab.wait(`Object.values(sessionStorage).some((kept) => kept.includes("${id}"))`);
  await tab.go("about:blank");
  // The browser ends the page behind the scenes: until then it handles what comes.
  await until("the page has left", async () => (await system.redis("EXISTS", system.key("topic:reload", "session"))) === "0");
  await system.add("topic:reload", 2);
  await tab.go(`${site}/page?topic=reload&options=${encodeURIComponent("{ storage: sessionStorage }")}`);
  await tab.wait("window.got?.length === 1");
  assert.deepEqual(await tab.eval("got"), [2]);
});

test("a page that is put away and comes back gets what it missed", { skip }, async () => {
  const tab = await open("cache");
  await system.add("topic:cache", 1);
  await tab.wait("got.length === 1");
  await tab.go(site + "/elsewhere");
  await until("it is elsewhere", async () => (await tab.eval("document.title")) === "elsewhere");
  await system.add("topic:cache", 2);
  await tab.eval("history.back()");
  await until("it is back", async () => (await tab.eval("document.title")) === "test");
  await tab.wait("got.length === 2");
  assert.deepEqual([await tab.eval("restored"), await tab.eval("got")], [1, [1, 2]], "the page was restored whole");
});

test("a page that was frozen leaves, and comes back by itself", { skip }, async () => {
  const tab = await open("frozen");
  await tab.call("Page.setWebLifecycleState", { state: "frozen" });
  await system.add("topic:frozen", 1);
  await tab.call("Page.setWebLifecycleState", { state: "active" });
  await tab.wait("got.length === 1");
});

test("a page that is online again does not wait for its next attempt", { skip }, async () => {
  const tab = await open("offline", "{ backoff: { min: 100, max: 3600000 } }");
  const { port } = proxy;
  proxy.port = 0;
  await tab.call("Network.emulateNetworkConditions", { offline: true, latency: 0, downloadThroughput: -1, uploadThroughput: -1 });
  proxy.cut();
  await tab.wait("document.body.dataset.state === 'waiting'");
  await tab.eval("sluice.on('state', (e) => { window.wait = e.retryInMs; })");
  await system.add("topic:offline", 1);
  proxy.port = port;
  await tab.call("Network.emulateNetworkConditions", { offline: false, latency: 0, downloadThroughput: -1, uploadThroughput: -1 });
  await tab.wait("got.length === 1");
});

test("a page over a stream has everything, once and in order, though links break and the page is put away", { skip }, async () => {
  const tab = await open("stream", `{ transport: "sse", backoff: { min: 20, max: 100 } }`, "sluice-stream");
  for (let n = 1; n <= 4; n++) {
    await system.add("topic:stream", 2 * n - 1);
    proxy.cut();
    await system.add("topic:stream", 2 * n);
    await tab.wait(`got.length === ${2 * n}`);
  }
  assert.equal(await tab.eval("document.body.dataset.transport"), "sse");
  await tab.go(site + "/elsewhere");
  await until("it is elsewhere", async () => (await tab.eval("document.title")) === "elsewhere");
  await system.add("topic:stream", 9);
  await tab.eval("history.back()");
  await until("it is back", async () => (await tab.eval("document.title")) === "test");
  await tab.wait("got.length === 9");
  assert.deepEqual(await tab.eval("got"), [1, 2, 3, 4, 5, 6, 7, 8, 9]);
  assert.deepEqual(await tab.eval("{ ({ ...sluice.stats }) }"), { repeats: 0, holes: 0, overflows: 0, dropped: 0 });
});

test("a page whose network lets no WebSocket through takes a stream by itself", { skip }, async () => {
  const strict = await Proxy.to(t, system.gateways[0].port);
  strict.refuses = /upgrade: websocket/i;
  const tab = await open("strict", `{ url: "${strict.url}", backoff: { min: 20, max: 100 } }`, "sluice-stream");
  assert.equal(await tab.eval("document.body.dataset.transport"), "sse");
  await system.add("topic:strict", 1);
  await tab.wait("got.length === 1");
});

test("the EventSource that the protocol's page prints", { skip }, async () => {
  const [, example] = /^```js\n([^]*?new EventSource[^]*?)^```$/m.exec(readFileSync(new URL("../../docs/protocol.md", import.meta.url), "utf8"));
  const tab = await browser.open(proxy.url + "/");
  await tab.wait("document.readyState === 'complete' && location.protocol === 'http:'");
  await tab.eval(`const token = "dev:alice"; const said = []; console.log = (...all) => said.push(all); ${example}`);
  await until("it says what is added", async () => { // until it has subscribed, events come again
    await system.add("topic:room-1", { text: "from Redis" });
    return tab.eval(`said.some(([data]) => data?.text === "from Redis")`);
  });
});

test("the page that README prints", { skip }, async () => {
  const tab = await browser.open(site + "/printed");
  await tab.wait("document.querySelector('#list')?.innerText.includes('hi')");
  assert.deepEqual(browser.complaints, []);
});
