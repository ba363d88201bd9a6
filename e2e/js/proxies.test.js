// Event streams, and requests that wait or are large, through HAProxy and nginx with the settings that are shipped. Only
// addresses are others: what is a container there is a process here.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { Sluice } from "../../shared/client/js/src/stream.js";
import { client, collect, directory, freePort, numbers, start, System, until } from "./harness.js";

const infra = (name) => readFileSync(new URL("../../infra/" + name, import.meta.url), "utf8");

// Each must be found, so that the settings cannot change without this test.
function replaced(text, ...pairs) {
  for (const [from, to] of pairs) {
    assert.ok(text.includes(from), "the settings have no more: " + from);
    text = text.replaceAll(from, to);
  }
  return text;
}

const proxies = {
  haproxy: ({ port, gateway, dir }) => [["-db", "-f", join(dir, "settings")], replaced(infra("haproxy/haproxy.cfg"),
    ["bind :8080", `bind 127.0.0.1:${port}`], [" init-addr none resolvers docker resolve-prefer ipv4", ""], ["check port 9090", `check port ${gateway.admin}`],
    ["server-template gateway 32 gateway:8080", `server gateway 127.0.0.1:${gateway.port}`],
    ["server-template playground 1 playground:8080", `server playground 127.0.0.1:${gateway.port}`],
    ["timeout server 30s", "timeout server 2s"])], // so that a request which waits for longer needs no minute
  nginx: ({ port, gateway, dir }) => [["-g", "daemon off; master_process off;", "-c", join(dir, "settings")], replaced(infra("nginx/nginx.conf"),
    ["listen 8080", `listen 127.0.0.1:${port}`], ["set $gateway gateway", "set $gateway 127.0.0.1"], ["http://$gateway:8080", `http://$gateway:${gateway.port}`],
    [" /tmp/", ` ${dir}/`], ["/dev/stderr", join(dir, "error.log")])],
};

const isThere = (name) => {
  try {
    return execFileSync(name, ["-v"], { stdio: "ignore" }), true;
  } catch {
    return false;
  }
};

for (const [name, settings] of Object.entries(proxies)) {
  const skip = isThere(name) ? false : `SKIP: no ${name} on the PATH (Debian: apt-get install ${name})`;
  test(`through ${name} nothing of an event stream waits, what was missed comes, and requests may wait and be large`, { skip }, async (t) => {
    const system = await System.start(t, { SLUICE_AUTH: "dev" });
    const [gateway] = system.gateways;
    const [port, dir] = [await freePort(), directory(t)];
    const [args, text] = settings({ port, gateway, dir });
    writeFileSync(join(dir, "settings"), text);
    const proxy = start(t, name, args);
    const url = `http://127.0.0.1:${port}`;
    await until(name + " lets through", async () => {
      if (proxy.exitCode !== null) throw new Error(proxy.said);
      return (await fetch(url + "/sluice-stream.js")).ok;
    });

    const authorization = "Bearer dev:alice";
    const waited = fetch(`${url}/v1/events?to=topic:quiet&wait=4s`, { headers: { authorization } }).then((r) => r.status);
    const many = await fetch(`${url}/v1/events`, { method: "POST", headers: { authorization }, body: "[]".padEnd(4 << 20) });
    assert.equal(many.status, 200, "a body as large as gateways take it");
    const long = await fetch(`${url}/v1/events?to=topic:quiet`, { headers: { authorization, "Last-Event-ID": "x".repeat(15_900) } });
    assert.equal(long.status, 200, "a header as long as gateways take it");

    // What browsers' EventSource does: it reads, and comes back with the last `id:` that it saw.
    let id;
    const read = async (until, headers = {}) => {
      const leave = new AbortController();
      const r = await fetch(`${url}/v1/sse?token=dev:alice&topics=raw`, { headers, signal: leave.signal });
      assert.equal(r.headers.get("content-type"), "text/event-stream");
      const got = [];
      let rest = "";
      for await (const part of r.body.pipeThrough(new TextDecoderStream())) {
        const events = (rest + part).split("\n\n");
        rest = events.pop();
        for (const event of events) {
          id = /^id: (.*)$/m.exec(event)?.[1] ?? id;
          const data = /^event: message\ndata: (.*)$/m.exec(event)?.[1];
          if (data) got.push(JSON.parse(data).data);
          if (await until(event, got)) return leave.abort(), got;
        }
      }
    };
    await read((event, got) => (/subscribed\ndata: .*topic:raw/.test(event) ? system.add("topic:raw", 1) && false : got.length === 1));
    await system.add("topic:raw", 2);
    await system.add("topic:raw", 3);
    assert.deepEqual(await read((_, got) => got.length === 2, { "Last-Event-ID": id }), [2, 3]);

    const s = client(t, url, { transport: "sse", getToken: () => "dev:alice" }, Sluice);
    const got = collect(s, "topic:proxied");
    await got.subscription.ready;
    for (const n of numbers(1, 3)) {
      await system.add("topic:proxied", n);
      await until("it is there, and not kept for more", () => got.length === n);
    }
    await s.publish("topic:proxied", 4);
    await until("what was published", () => got.length === 4);
    assert.deepEqual([...got], [1, 2, 3, 4]);
    assert.equal(await waited, 200, "a request that waits");
  });
}
