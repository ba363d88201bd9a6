// A transport whose other end is the test, and time that goes on when the test says so.
import { Sluice } from "../src/sluice.js";

export const settle = () => new Promise((r) => setImmediate(r)); // what is due without waiting

export class Server {
  links = []; // {request, sent, closed, on}

  constructor(t) {
    t.mock.timers.enable({ apis: ["setTimeout", "setInterval", "Date"], now: 1_700_000_000_000 });
    this.t = t;
  }

  get link() {
    return this.links.at(-1);
  }

  transport = (request, on) => {
    const link = { request: structuredClone(request), sent: [], closed: false };
    link.on = { frame: on.frame, close: (...why) => ((link.closed = true), on.close(...why)) };
    this.links.push(link);
    return { send: (text) => void link.sent.push(JSON.parse(text)), close: () => (link.closed = true) };
  };

  client(options = {}) {
    const s = new Sluice({ url: "http://gateway", getToken: () => "token", transport: this.transport, ...options });
    s.failures = [];
    s.states = [];
    s.on("error", (f) => s.failures.push(f));
    s.on("state", (e) => s.states.push(e));
    this.t.after(() => s.close());
    return s;
  }

  say(frame) {
    this.link.on.frame(JSON.stringify(frame));
  }

  /** Waits for a connection, and lets it in. */
  async welcome(more = {}) {
    for (let n = 0; n < 100 && (await settle(), !this.link || this.link.closed); n++) await this.after(1000);
    const limits = { max_data_bytes: 1000, max_message_bytes: 5000, max_targets: 100 };
    this.say({ type: "welcome", conn: "c", server: "s", user: "alice", ping_ms: 25_000, limits, ...more });
  }

  event(to, n, data = n, prev = n - 1) {
    this.say({ type: "event", to, id: n && `${n}-0`, prev: prev ? `${prev}-0` : "0", event: "message", data });
  }

  /** Answers the last `subscribe` of a target, or `connect`. */
  subscribed(to, position, more = {}) {
    const ref = this.sent("subscribe").findLast((f) => f.to === to)?.ref;
    this.say({ type: "subscribed", ref, to, position, recovered: true, ...more });
  }

  sent(type) {
    return this.link.sent.filter((f) => f.type === type);
  }

  async after(ms) {
    await settle();
    for (; ms > 0; ms -= 1000) {
      this.t.mock.timers.tick(Math.min(ms, 1000));
      await settle();
    }
  }
}
