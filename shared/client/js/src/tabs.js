import { onAbort } from "./abort.js";
import { closed, SluiceError } from "./error.js";
import { Listeners } from "./listeners.js";
import { hold, whenGone } from "./locks.js";
import { key } from "./outbox.js";
import { watchPage } from "./page.js";
import { Subscription } from "./subscription.js";
import { give, latest } from "./target.js";
import { CONNECT_MS, KEY_LIFE_MS } from "./times.js";

export { serve } from "./serve.js";
export { SluiceError };

const MOST_REQUESTS = 1000; // without an answer, of a tab

const revived = (e) => e && (e.code ? new SluiceError(e.code, e.message) : Object.assign(new Error(e.message), { name: e.name }));

/**
 * One target of a tab: `_owner`, the tab, and `_subscriptions`, for `give`.
 *
 * What comes is handled in a `_chain`, and is `_seen` when it has come: so the same tab takes it no second time from another worker, which
 * may have to begin earlier. It begins where `_sure` is: the event before, which all tabs are done with, since this one got the next.
 */
class Target {
  _subscriptions = new Set();
  _chain = Promise.resolve();
  _ref; // of its `join`
  _begun; // that was answered
  _seen;
  _sure;

  constructor(to, after, owner) {
    this.to = to;
    this._sure = after;
    this._owner = owner;
  }

  /** Takes an event or a gap. Resolves when it is handled. */
  _take(f) {
    if (f.type === "gap") this._seen = this._sure = f.position;
    else if (f.id) {
      if (latest(this._seen, f.id) === this._seen) return this._chain;
      this._sure = this._seen ?? this._sure;
      this._seen = f.id;
    }
    return (this._chain = this._chain.then(() => give(this, f)));
  }
}

/** What is like a `Sluice` in a tab, whose client is in a worker: see README.md. */
class Tab extends Listeners {
  state = "connecting";
  user;
  limits;
  stats = { repeats: 0, holes: 0, overflows: 0, dropped: 0 };

  #worker;
  #targets = new Map(); // by name
  #requests = new Map(); // ref: {_frame, _at (when it was sent first), _over(error, value)}
  #refs = 0;
  #name = key() + "-";
  #unwatch;
  #over; // aborted when the worker is left
  #again; // timer: the worker has not answered
  #port;
  #isOpen; // `hello` was said
  #of; // the last user that there was

  constructor(worker) {
    super();
    this.#worker = worker;
    this.#unwatch = watchPage(() => (this.#port ? this.#tell({ type: "shown" }) : this.#attach()), () => this.#sleep(), () => {});
    this.#attach();
  }

  subscribe(to, handler, options) {
    if (typeof handler !== "function") [handler, options] = [undefined, handler];
    const { onGap, after, signal } = options ?? {};
    if (this.state === "closed") throw closed();
    signal?.throwIfAborted();
    let t = this.#targets.get(to);
    if (!t) {
      t = new Target(to, after, this);
      this.#targets.set(to, t);
      this.#join(t);
    }
    const s = new Subscription(to, handler, onGap, (forget) => {
      deaf();
      this.#detach(t, s, forget);
    });
    t._subscriptions.add(s);
    if (t._begun) s._begun(t._seen ?? "0");
    const deaf = onAbort(signal, () => s._end());
    return s;
  }

  publish(to, data = null, options) {
    return this.#request("publish", to, data, options);
  }

  call(name, data, options) {
    return this.#request("call", name, data, options);
  }

  ack(event, id = event.id) {
    this.#tell({ type: "ack", to: event.to ?? event, id });
  }

  close(why) {
    if (this.state === "closed") return;
    this.state = "closed";
    this.#unwatch();
    this.#leave();
    for (const t of [...this.#targets.values()]) for (const s of t._subscriptions) s._end(why);
    for (const r of this.#requests.values()) r._over(why ?? closed());
    this._emit("state", { state: "closed", error: why });
  }

  _gap(f) {
    this._emit("gap", f);
  }

  #tell(m) {
    this.#port?.postMessage(m);
  }

  // ---- the worker

  #state(value) {
    this.state = value.state;
    this._emit("state", value);
  }

  // Takes a worker, the same one as before or, if that has ended, another one.
  #attach() {
    this.#leave();
    const { signal } = (this.#over = new AbortController());
    this.#again = setTimeout(() => this.#attach(), CONNECT_MS);
    this.#state({ state: "connecting" }); // a listener may close this
    if (signal.aborted) return;
    try {
      const worker = this.#worker();
      worker.onerror = () => signal.aborted || this._failed(new SluiceError("worker", "the worker does not start"));
      this.#port = worker.port;
    } catch (e) {
      return this._failed(e);
    }
    this.#port.onmessage = ({ data }) => signal.aborted || this.#take(data);
    for (const r of this.#requests.values()) this.#send(r);
    const lock = "sluice:" + key();
    hold(lock, signal).then(() => {
      if (signal.aborted) return;
      this.#tell({ type: "hello", lock });
      this.#isOpen = true;
      for (const t of this.#targets.values()) this.#join(t);
    });
  }

  #leave() {
    this.#over?.abort();
    clearTimeout(this.#again);
    this.#tell({ type: "bye" });
    this.#port?.close();
    this.#port = undefined;
    this.#isOpen = false;
    for (const t of this.#targets.values()) t._ref = t._begun = undefined;
  }

  #sleep() {
    if (this.#over.signal.aborted) return;
    this.#leave();
    this.#state({ state: "waiting" });
  }

  #take(m) {
    const port = this.#port;
    const done = () => port.postMessage({ type: "done", n: m.n });
    const { type, value } = m;
    const t = this.#targets.get(m.to);
    switch (type) {
      case "hello":
        clearTimeout(this.#again);
        return whenGone(m.lock, () => this.#attach(), this.#over.signal);
      case "late":
        this._failed(new SluiceError("late", "the other tabs went on"));
        return this.#attach();
      case "answer":
        return this.#requests.get(m.ref)?._over(revived(m.error), value);
      case "news": {
        done();
        Object.assign(this, m.now);
        if (this.#of && this.user && this.#of !== this.user) for (const t of this.#targets.values()) t._seen = t._sure = undefined;
        this.#of = this.user ?? this.#of; // a worker that is new does not know yet
        value.error = revived(value.error);
        if (m.of === "error") this._failed(value.error, value.event);
        else if (m.of === "resumed") this._emit(m.of, value);
        else if (value.state === "closed") this.close(value.error);
        else this.#state(value);
        return;
      }
      default:
        if (t?._ref !== m.ref) return; // it has left
        if (type === "frame") return t._take(m.frame).then(done);
        if (type === "begun") return this.#begin(t, m);
        this.#targets.delete(t.to);
        for (const s of t._subscriptions) s._end(revived(m.error));
    }
  }

  // ---- targets

  // A handler that the worker has not waited for is waited for here.
  async #join(t) {
    const { signal } = this.#over;
    await t._chain;
    if (!this.#isOpen || signal.aborted || t._ref || this.#targets.get(t.to) !== t) return;
    t._ref = this.#name + ++this.#refs;
    this.#tell({ type: "join", ref: t._ref, to: t.to, seen: t._seen, after: t._sure });
  }

  // Behind what it has seen a worker may begin that replaces another one.
  #begin(t, { position, fell }) {
    t._begun = true;
    if (t._seen && t._seen !== position && (fell || latest(t._seen, position) === position)) {
      t._take({ type: "gap", to: t.to, after: t._seen, oldest: position, position, reason: "late" });
    }
    t._seen ??= t._sure = position;
    for (const s of t._subscriptions) s._begun(t._seen);
  }

  #detach(t, s, forget) {
    t._subscriptions.delete(s);
    if (t._subscriptions.size || this.#targets.get(t.to) !== t) return;
    this.#targets.delete(t.to);
    this.#tell({ type: "leave", to: t.to, forget });
  }

  // ---- publishes and calls

  #request(method, to, data, { signal, timeout, id = key(), ...options } = {}) {
    return new Promise((resolve, reject) => {
      if (this.state === "closed") throw closed();
      if (this.#requests.size >= MOST_REQUESTS) throw new SluiceError("queue_full");
      const ref = this.#name + ++this.#refs;
      const deaf = [];
      const over = (why, value) => {
        if (!this.#requests.delete(ref)) return;
        for (const f of deaf) f();
        why ? reject(why) : resolve(value);
      };
      const r = { _frame: JSON.parse(JSON.stringify({ type: "request", ref, method, to, data, options: { ...options, id } })), _over: over };
      this.#requests.set(ref, r);
      this.#send(r);
      for (const s of [signal, timeout && AbortSignal.timeout(timeout)]) deaf.push(onAbort(s || undefined, () => {
        this.#tell({ type: "abort", ref });
        over(s.reason);
      }));
    });
  }

  // Another worker does not know how old it is, and the server knows its key for a while only.
  #send(r) {
    const ttl = r._at && KEY_LIFE_MS - (Date.now() - r._at);
    if (ttl <= 0) return r._over(new SluiceError("unknown", "no answer"));
    if (!this.#port) return;
    r._at ??= Date.now();
    this.#tell({ ...r._frame, ttl });
  }
}

/**
 * The client of all tabs that take the same worker, in which `serve` is called: `worker()` gives a SharedWorker. Where a browser has
 * none, `alone()` gives the tab a client of its own.
 */
export function tabs(worker, alone) {
  return globalThis.SharedWorker && navigator.locks ? new Tab(worker) : alone();
}
