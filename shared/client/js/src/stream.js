import { Sluice as Client, SluiceError, websocket } from "./sluice.js";
import { AGAIN_MS, GATHER_MS } from "./times.js";

export { SluiceError, websocket };

/**
 * The transport over an event stream and HTTP. A stream is asked for once, with all targets and their positions, so
 * `subscribe` and `unsubscribe` leave it for another one that goes on where it stood, and so does `ping`, to find out whether
 * the link lives. `publish`, `call`, `ack` and the end of a device's cursor are requests of their own.
 */
export function stream({ url, query, hello, expired }, on) {
  url += "/v1/";
  const headers = { Authorization: "Bearer " + hello.token };
  const at = new URLSearchParams(hello.resume); // target: where it stands, or begins
  const asked = new Map(); // target: ref of a `subscribe` without an answer
  const ends = new Map(); // target: ref of an `unsubscribe` without an answer
  let ending; // the request for one of them: behind it, not before, its target may begin again
  let acks = new Map(); // target: the frame
  let cursor = ""; // all positions, in the words of the server; newer than `at`; "": the present one has said nothing
  let over; // aborted when the stream is left
  let timer;
  let known; // `welcome` was told
  let fields; // of an event that is not complete

  const tell = (frame) => on.frame(JSON.stringify(frame));
  const pong = () => tell({ type: "pong" });

  // Leaves the stream, and asks for another one soon. Nothing more is taken of it, so that positions may be changed.
  function leave() {
    over.abort();
    for (const [to, id] of new URLSearchParams(cursor.replaceAll(",", "&"))) at.set(to, id);
    cursor = "";
    timer ??= setTimeout(open, GATHER_MS);
  }

  function answer(f) {
    const ref = asked.get(f.to);
    asked.delete(f.to);
    if (f.code) at.delete(f.to); // refused
    tell({ ref, ...f });
    if (ends.size) leave(); // what this stream begins has begun
  }

  async function open() {
    timer = undefined;
    const { signal } = (over = new AbortController());
    await ending;
    for (const [to, ref] of ends) {
      at.delete(to);
      if (hello.device) await (ending = ask("unsubscribe", { ref, device: hello.device, to })); // before the next stream looks for cursors
      if (ends.get(to) === ref) ends.delete(to);
    }
    let code;
    let reason;
    fields = {};
    try {
      const asks = new URLSearchParams(query);
      if (hello.on_gap) asks.set("on_gap", hello.on_gap);
      // URLs must pass proxies. The server takes some less, and says so.
      for (const [to] of [...at].slice(40)) answer({ type: "error", to, code: "too_many" });
      asks.set("last_event_id", (at + "").replaceAll("&", ","));
      const { ok, status, body } = await fetch(url + "sse?" + asks, { headers, signal });
      reason = "HTTP " + status;
      // Whether a token that is refused has expired is not said: the first time another one is asked for.
      code = { 401: expired ? 4501 : 4401, 403: 4503 }[status];
      const reader = body.pipeThrough(new TextDecoderStream()).getReader();
      let text = "";
      for (let part; ok && !(part = await reader.read()).done; ) {
        const lines = (text + part.value).split("\n");
        text = lines.pop();
        for (const line of lines) signal.aborted || read(line);
      }
    } catch (error) {
      reason = error.message;
    }
    if (!signal.aborted) on.close(code ?? 1006, reason);
  }

  function read(line) {
    const [, name, value] = /^(\w*): ?(.*)/s.exec(line) ?? [];
    if (name === "") pong(); // a comment: nothing new, but the link lives
    fields[name] = value;
    if (line || !fields.data) return;
    const { id = cursor, data } = fields;
    cursor = id;
    fields = {};
    if (!/^{"type":"(cl|we|er|su)/.test(data)) return on.frame(data);
    const f = JSON.parse(data);
    if (f.type === "close") on.close(f.code, f.reason);
    else if (f.type !== "welcome") answer(f);
    else if (known) pong();
    else tell((known = { ...f, transport: "sse" }));
  }

  /** Gives what was answered, or an `error` frame. */
  async function request(path, body, keepalive) {
    const error = { type: "error", code: "unavailable", retry_after_ms: AGAIN_MS };
    try {
      const r = await fetch(url + path, { method: "POST", headers, body: JSON.stringify(body), keepalive });
      const got = await r.json();
      if (r.ok) return got;
      if (r.status !== 401) return { ...error, ...got.error, retry_after_ms: r.headers.get("Retry-After") * 1000 };
    } catch {} // it may have been done
    return error;
  }

  async function ask(path, { ref, ...body }) { // the client takes `published` like `reply`
    tell({ type: "published", ref, ...(await request(path, body)) });
  }

  async function acknowledge() {
    const sent = acks;
    acks = new Map();
    const f = await request("acks", { device: hello.device, acks: [...sent.values()] }, true);
    if (/^[ur]/.test(f.code)) { // unavailable, or rate_limited
      acks = new Map([...sent, ...acks]);
      if (over) setTimeout(acknowledge, AGAIN_MS);
    } else if (f.code) tell(f);
  }

  open();
  return {
    send(text) {
      const f = JSON.parse(text);
      const { type, to, ref, after = "now" } = f;
      if (type === "publish") return ask("events", f);
      if (type === "call") return ask("calls", f);
      if (type === "ack") {
        if (!acks.size) queueMicrotask(acknowledge);
        return acks.set(to, f);
      }
      if (type === "unsubscribe") {
        ends.set(to, ref);
        return cursor && leave(); // else a stream under way could begin a cursor again
      }
      leave();
      if (to) { // no `ping`
        ends.delete(to);
        at.set(to, after);
        asked.set(to, ref);
      }
    },
    close() {
      clearTimeout(timer);
      over.abort();
      over = undefined;
    },
  };
}

// The WebSocket; after two of them in a row on which nothing came, a stream. After a stream that worked it is tried once more.
function either() {
  let failures = 0;
  return (request, on) => {
    const second = failures > 1;
    failures = second ? 0 : failures + 1; // until something has come
    return (second ? stream : websocket)(request, {
      ...on,
      frame(text) {
        failures = +second;
        on.frame(text);
      },
    });
  };
}

const transports = { ws: websocket, sse: stream };

/** The client with both doors: see README.md. */
export class Sluice extends Client {
  constructor(options) {
    super({ ...options, transport: transports[options.transport] ?? options.transport ?? either() });
  }
}
