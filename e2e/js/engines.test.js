// The client in the engines of Firefox and of Safari, WebKit. No protocol drives both, so their page asks the test what to do.
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { delimiter, join } from "node:path";
import { after, before, test } from "node:test";
import { directory, numbers, Proxy, serveSite, start, System, until } from "./harness.js";

const has = (name) => process.env.PATH.split(delimiter).some((dir) => existsSync(join(dir, name)));
const cleanups = [];
const t = { after: (f) => cleanups.push(f) };
const tabs = new Map(); // by name
let system, proxy, site;

// A page gets a script, sends what that gives, and so on.
const page = (name) => `<!doctype html><meta charset="utf-8"><title>${name}</title><body><script type="module">
  import * as client from "${proxy.url}/sluice-stream.js";
  import { tabs } from "${proxy.url}/sluice-tabs.js";
  const getToken = () => "dev:alice";
  const options = { url: "${proxy.url}", getToken, backoff: { min: 20, max: 100 } };
  Object.assign(window, { got: [], states: [] });
  const watch = (sluice, to) => {
    window.sluice = sluice;
    sluice.on("state", (e) => { states.push(e); });
    window.subscription = sluice.subscribe(to, (e) => { got.push(e.data); });
    return subscription.ready;
  };
  for (;;) {
    const script = await fetch("/next?${name}").then((r) => r.text());
    let answer;
    try {
      answer = { value: await eval(script) };
    } catch (error) {
      answer = { error: error + " " + error.stack };
    }
    await fetch("/answer?${name}", { method: "POST", body: JSON.stringify(answer) });
  }
</script>`;

/** A page of a browser. */
class Tab {
  #scripts = [];
  #asks;
  #answers = [];

  constructor(name) {
    this.url = `${site}/page?${name}`;
    tabs.set(name, this);
  }

  next(response) {
    this.#asks = response;
    this.#go();
  }

  answer(text) {
    this.#answers.shift()(JSON.parse(text));
  }

  #go() {
    if (!this.#asks || !this.#scripts.length) return;
    this.#asks.end(this.#scripts.shift());
    this.#asks = undefined;
  }

  async eval(script) {
    const answer = new Promise((resolve) => this.#answers.push(resolve));
    this.#scripts.push(script);
    this.#go();
    const { value, error } = await answer;
    if (error) throw new Error(error);
    return value;
  }

  /** Loads it again. */
  reload() {
    this.#scripts.push("location.reload(); new Promise(() => {})"); // is never answered
    this.#go();
  }

  /** Waits until an expression is true. */
  wait(expression) {
    return until(expression, async () => (await this.eval(expression)) || assert.fail(JSON.stringify(await this.eval("[got, states]"))));
  }
}

before(async () => {
  site = await serveSite(t, async (request, response) => {
    const { pathname, search } = new URL(request.url, "http://localhost");
    const name = search.slice(1);
    if (pathname === "/page") return response.setHeader("Content-Type", "text/html").end(page(name));
    if (pathname === "/worker") return response.setHeader("Content-Type", "text/javascript").end(worker(name));
    if (pathname === "/next" && tabs.has(name)) return tabs.get(name).next(response);
    if (pathname === "/answer") {
      let text = "";
      for await (const part of request) text += part;
      tabs.get(name).answer(text);
    } else response.statusCode = 404;
    response.end();
  });
  system = await System.start(t, { SLUICE_AUTH: "dev", SLUICE_ALLOWED_ORIGINS: site, SLUICE_PING_INTERVAL: "2s" });
  proxy = await Proxy.to(t, system.gateways[0].port);
}, { timeout: 60_000 });
after(async () => {
  for (const f of cleanups.reverse()) await f();
});

const worker = (name) => `
  import { Sluice } from "${proxy.url}/sluice.js";
  import { serve } from "${proxy.url}/sluice-tabs.js";
  serve(new Sluice({ url: "${proxy.url}", getToken: () => "dev:${name}", backoff: { min: 20, max: 100 } }));`;

const engines = {
  firefox: (url, dir) => ["firefox-esr", ["--headless", "--no-remote", "--profile", dir, url]],
  webkit: (url) => ["cog", ["--platform=headless", url]],
};

for (const [engine, command] of Object.entries(engines)) {
  const [program] = command("", "");
  const skip = has(program) ? false : `SKIP: no ${program} on the PATH (Debian: apt-get install ${program})`;

  test(`the client in ${engine}: sockets, streams, a reload and shared tabs`, { skip }, async (t) => {
    const dir = directory(t);
    const tab = new Tab(engine);
    const [, args] = command(tab.url, dir);
    const browser = start(t, program, args, { HOME: dir, XDG_RUNTIME_DIR: dir });
    await Promise.race([tab.eval("1"), browser.over.then(() => assert.fail(browser.said))]);

    // Everything once and in order, though links break.
    async function throughCuts(to) {
      for (let n = 1; n <= 9; n += 3) {
        await system.add(to, n);
        proxy.cut();
        await Promise.all([n + 1, n + 2].map((n) => system.add(to, n)));
        await tab.wait("got.length >= " + (n + 2));
      }
      assert.deepEqual(await tab.eval("got"), numbers(1, 9));
    }
    for (const [transport, name] of [["ws", "socket"], ["sse", "stream"]]) {
      const to = `topic:${engine}-${name}`;
      await tab.eval(`got = []; watch(new client.Sluice({ ...options, transport: "${transport}" }), "${to}")`);
      await throughCuts(to);
      assert.equal(await tab.eval(`sluice.publish("${to}", 10).then((r) => r.duplicate)`), false);
      await tab.wait("got.length === 10");
      assert.deepEqual(await tab.eval("({ ...sluice.stats })"), { repeats: 0, holes: 0, overflows: 0, dropped: 0 });
      await tab.eval("sluice.close()");
    }

    // The browser's own EventSource knows nothing of Sluice.
    const own = `topic:${engine}-own`;
    await tab.eval(`got = []; window.source = new EventSource("${proxy.url}/v1/sse?token=dev:alice&topics=${engine}-own");
      source.onmessage = (e) => { const f = JSON.parse(e.data); if (f.to === "${own}") got.push(f.data); };
      new Promise((resolve) => source.addEventListener("sluice.subscribed", (e) => JSON.parse(e.data).to === "${own}" && resolve()))`);
    await throughCuts(own);
    await tab.eval("source.close()");

    // A reload goes on where the page was.
    const stored = `topic:${engine}-stored`;
    const watch = `watch(new client.Sluice({ ...options, storage: localStorage }), "${stored}")`;
    await tab.eval(watch);
    const id = await system.add(stored, 1);
    await tab.wait(`Object.values(localStorage).some((kept) => kept.includes("${id}"))`);
    tab.reload();
    await until("the page has left", async () => (await system.redis("EXISTS", system.key(stored, "session"))) === "0");
    await system.add(stored, 2);
    await until("the page is back", () => tab.eval("!window.sluice"));
    await tab.eval(watch);
    await tab.wait("got.length > 0");
    assert.deepEqual(await tab.eval("got"), [2]);
    await tab.eval("sluice.close()");

    // Two pages and one connection.
    const frame = new Tab(engine + "-frame");
    const shared = `topic:${engine}-shared`;
    await tab.eval(`document.body.append(Object.assign(document.createElement("iframe"), { src: "${frame.url}" })); 1`);
    const pages = [tab, frame];
    const without = "() => new client.Sluice({ ...options, getToken: () => 'dev:alone' })"; // a shared worker
    for (const one of pages) {
      await one.eval(`got = []; watch(tabs(() => new SharedWorker("/worker?${engine}", { type: "module" }), ${without}), "${shared}")`);
    }
    for (const n of [1, 2]) {
      await system.add(shared, n);
      proxy.cut();
    }
    for (const one of pages) await one.wait("got.length >= 2");
    for (const one of pages) assert.deepEqual(await one.eval("got"), [1, 2]);
    assert.deepEqual(await Promise.all(pages.map((one) => one.eval("sluice.user"))), [engine, engine]);
  });
}
