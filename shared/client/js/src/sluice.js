import { onAbort } from "./abort.js";
import { closed, SluiceError } from "./error.js";
import { createLink } from "./link.js";
import { createOutbox } from "./outbox.js";
import { watchPage } from "./page.js";
import { createPositions } from "./positions.js";
import { Subscription } from "./subscription.js";
import { CONNECT, latest, Target } from "./target.js";
import { ACK_MS, AGAIN_MS } from "./times.js";
import { Listeners } from "./listeners.js";
import { websocket } from "./websocket.js";

export { SluiceError, websocket };


/** A client of Sluice: see README.md and index.d.ts. */
export class Sluice extends Listeners {
  state = "connecting";
  user;
  limits; // of the server, from `welcome`
  stats = { repeats: 0, holes: 0, overflows: 0, dropped: 0 };

  #options;
  #targets = new Map(); // by name
  #inServer = new Map(); // targets that the server knows on this connection and nobody here handles, and where those stand that it gives
  #leaving = new Map(); // target: ref of an `unsubscribe` without an answer
  #acks = new Map(); // target: id, to be sent
  #ackTimer;
  #unanswered = new Set(); // targets, of those that this connection goes on with
  #resumed; // what will be told of them: {targets: names, recovered}
  #refs = 0;
  #positions;
  #outbox;
  #unwatch;
  _link;
  _waiting = 0; // bytes of events that are not handled
  _most; // of these

  constructor(options) {
    super();
    const { url = globalThis.location?.origin, getToken, device, topics = [], signal } = options;
    if (!getToken) throw new TypeError("no getToken");
    this.#options = {
      transport: websocket, autoAck: !!device, ...options,
      backoff: { min: 500, max: 30_000, ...options.backoff }, queue: { count: 1000, bytes: 4 << 20, ...options.queue },
    };
    this._most = this.#options.queue.bytes;
    this.#positions = createPositions(options.storage, options.storageKey ?? "sluice:" + url, this);
    const loaded = this.#positions._load().then(() => {
      for (const t of this.#all) t._seen ??= this.#positions._get(t.to);
    });
    this._link = createLink({
      ...this.#options,
      url: new URL(url).href.replace(/\/$/, ""),
      query: !device ? "" : `?device=${encodeURIComponent(device)}&resume=device`,
      getToken: async (why) => {
        await loaded;
        return getToken(why);
      },
    }, this);
    this.#outbox = createOutbox(this.#options.queue, this);
    this.#unwatch = watchPage(this._link._wake, () => (this.#save(), this._link._sleep()), () => this.#save());
    for (const name of topics) this.subscribe("topic:" + name, options.onEvent);
    this._link._connect();
    onAbort(signal, () => this.close());
  }

  /** Subscribes to `user:<id>`, `topic:<name>` or `all`. */
  subscribe(to, handler, options) {
    if (typeof handler !== "function") [handler, options] = [undefined, handler];
    const { onGap, after, signal } = options ?? {};
    if (this.state === "closed") throw closed();
    signal?.throwIfAborted();
    let t = this.#targets.get(to);
    if (!t) {
      t = new Target(to, this);
      t._seen = latest(this.#inServer.get(to), this.#positions._get(to)); // acks may be on their way to where the server looks
      t._after = after;
      this.#targets.set(to, t);
    }
    const s = new Subscription(to, handler, onGap, (forget) => {
      deaf();
      this.#detach(t, s, forget);
    });
    t._subscriptions.add(s);
    if (t._flows) s._begun(t._at);
    else if (!t._ref) this._ask(t);
    const deaf = onAbort(signal, () => s._end());
    return s;
  }

  /** Publishes an event, and resolves with `{to, id, duplicate}` when it was appended. */
  publish(to, data = null, options) {
    return this.#outbox._add({ type: "publish", to, data }, options);
  }

  /** Asks a function, and resolves with what it replied. */
  async call(name, data, options) {
    return (await this.#outbox._add({ type: "call", name, data }, options)).data;
  }

  /** Tells the server that this device has everything of the event's target up to it; or `ack(to, id)`. */
  ack(event, id = event.id) {
    this.#ack(event.to ?? event, id);
  }

  /** Ends everything. What is not handled yet comes again to who resumes. */
  close() {
    this.#save();
    this._link._end();
  }

  get #all() {
    return [...this.#targets.values()];
  }

  _state(state, detail) {
    this._emit("state", { state: (this.state = state), ...detail });
  }

  // ---- the connection

  // The first frame: who this is, and what it has, as far as there is room in a message. The rest is asked for later.
  _hello(token) {
    const { device, retained } = this.#options;
    const resume = {};
    let room = (this.limits?.max_message_bytes ?? 16_000) - token.length - 500;
    for (const t of this.#all) {
      if (!t._seen || (room -= t.to.length + t._seen.length + 6) < 0) continue;
      resume[t.to] = t._seen;
      t._ref = CONNECT;
    }
    return { type: "connect", token, device, resume, on_gap: retained ? "retained" : undefined };
  }

  _welcome(f) {
    const { onEvent } = this.#options;
    const other = this.user && this.user !== f.user;
    this.user = f.user;
    this.limits = f.limits;
    if (other) this.#forgetUser();
    for (const to of ["user:" + f.user, "all"]) {
      this.#leaving.delete(to);
      const t = this.#targets.get(to);
      if (t) { // every connection has it, from now on
        if (!t._ref && !(t._seen ?? t._after)) t._ref = CONNECT;
      } else if (onEvent) this.subscribe(to, onEvent);
    }
    const all = this.#all;
    const back = all.filter((t) => t._seen);
    this.#unanswered = new Set(back);
    this.#resumed = { targets: back.map((t) => t.to), recovered: true };
    for (const t of all) if (!t._ref) this._ask(t);
    for (const to of this.#leaving.keys()) this.#leave(to);
    this.#outbox._flush();
    this._state("connected", f); // a listener may close the client
  }

  // The token is another user's: what the one before had and wanted to publish is nothing to this one. But the server was told its
  // positions already, in place of this one's cursors: so this connection is left, and the next one knows nothing of it.
  #forgetUser() {
    const error = new SluiceError("user_changed");
    for (const t of this.#all) t._clear();
    this.#positions._clear();
    this.#acks.clear();
    this.#leaving.clear();
    this.#outbox._fail(error);
    throw error;
  }

  _lost() {
    for (const t of this.#all) t._left();
    this.#inServer.clear();
    this.#unanswered.clear();
    this.#outbox._lost();
  }

  _ended(error) {
    this.state = "closed"; // before anything can be asked for again
    this.#unwatch();
    for (const t of this.#all) for (const s of t._subscriptions) s._end(error);
    this.#outbox._fail(error ?? closed());
    if (error) this._failed(error);
    this._state("closed", { error });
  }

  _tick() {
    this.#outbox._flush();
  }

  _frame(f, size) {
    const t = this.#targets.get(f.to);
    switch (f.type) {
      case "event":
      case "skip":
        return t?._take(f, size);
      case "gap":
        return t?._gap(f);
      case "subscribed":
        return this.#subscribed(t, f);
      case "unsubscribed":
        return this.#unsubscribed(t, f);
      case "published":
      case "reply":
        this.#outbox._over(f.ref, undefined, f);
        break;
      case "error":
        this.#refused(f);
    }
    this.#outbox._flush(); // what waited for this answer
  }

  #refused(f) {
    const { ref, code } = f;
    const error = new SluiceError(code, f.message);
    // A call for which no answer came may be under way, so it is not asked for again.
    const again = f.retry_after_ms || (/^[^c]*,(unav|rate)/.test([ref, code]) && AGAIN_MS);
    this.#outbox._refused(ref, error, again);
    const of = this.#all.filter((t) => t._ref === (ref ?? CONNECT));
    if (!ref) {
      // Which of the targets in `connect` was refused is not said, so those without an answer are asked for one by one.
      for (const t of of) this._ask(t);
      if (!of.length) this._failed(error);
      if (again) for (const t of this.#all) this.#ack(t.to, t._acked, AGAIN_MS); // it may have been an acknowledgement
    } else if (again) setTimeout(() => {
      for (const t of of) if (t._ref === ref) this._ask(t);
      for (const [to, u] of this.#leaving) if (u === ref) this.#leave(to);
    }, again);
    else for (const t of of) this.#refuse(t, error);
  }

  // ---- targets

  async _gap(f) {
    this._emit("gap", f);
    try {
      await this.#options.onGap?.(f);
    } catch (error) {
      this._failed(error, f);
    }
  }

  _ask(t) {
    t._left();
    // It is asked for when there is a connection, and behind the end of a device's cursor, where it would begin.
    if (!this._link._isOpen() || this.#leaving.get(t.to)) return;
    t._ref = "s" + ++this.#refs;
    this._link._send({ type: "subscribe", ref: t._ref, to: t.to, after: t._seen ?? t._after });
  }

  #subscribed(t, f) {
    const { ref = CONNECT, to, position } = f;
    // A device's targets begin with the connection, where its cursors are, unless this client knows better.
    const isCursor = this.#options.device && ref === CONNECT;
    if (isCursor && this.#leaving.get(to)) return;
    if (!t) return isCursor && this.#inServer.set(to, position);
    if (t._flows || (t._ref !== ref && (!isCursor || t._seen))) return;
    t._begin(position);
    for (const s of t._subscriptions) s._begun(t._at);
    this.#ack(to, t._acked); // it may have died with the gateway that had it
    this.#settle(t, f.recovered);
  }

  #settle(t, recovered) {
    if (!this.#unanswered.delete(t)) return;
    this.#resumed.recovered &&= recovered;
    if (!this.#unanswered.size) this._emit("resumed", this.#resumed);
  }

  // What was got is handled. At the begin of a subscription that is nothing, and nothing is acknowledged.
  _moved(t, id, got) {
    this.#positions._set(t.to, id);
    if (got && this.#options.autoAck) this.#ack(t.to, id);
  }

  // One of the handlers of a target goes.
  #detach(t, s, forget) {
    t._subscriptions.delete(s);
    if (t._subscriptions.size || t._isGone) return;
    const { to } = t;
    this.#sendAcks();
    this.#targets.delete(to);
    t._end();
    this.#settle(t, true);
    if (forget) this.#positions._set(to);
    if (this.state === "closed") return;
    // With a device its cursor must stay.
    if ((forget || !this.#options.device) && to !== "all" && to !== "user:" + this.user) this.#leave(to);
    if (t._flows) this.#inServer.set(to); // acks of it may still come
  }

  #leave(to) {
    const ref = "u" + ++this.#refs;
    if (this.#options.device) this.#leaving.set(to, ref); // its cursor must end, so the answer counts
    this.#inServer.delete(to);
    this._link._send({ type: "unsubscribe", ref, to });
  }

  #unsubscribed(t, { to, ref }) {
    if (!ref) t && this.#refuse(t, new SluiceError("forbidden"));
    else if (this.#leaving.get(to) === ref) {
      this.#leaving.delete(to);
      if (t) this._ask(t); // somebody has subscribed again meanwhile
    }
  }

  #refuse(t, error) {
    this._failed(error);
    this.#targets.delete(t.to);
    const all = [...t._subscriptions];
    t._end();
    this.#settle(t, false);
    for (const s of all) s._end(error);
  }

  // ---- acknowledgements and positions

  #ack(to, id, ms = ACK_MS) {
    id = latest(this.#acks.get(to), id);
    if (!id) return;
    this.#acks.set(to, id);
    this.#ackTimer ??= setTimeout(() => this.#sendAcks(), ms);
  }

  #sendAcks() {
    this.#ackTimer = clearTimeout(this.#ackTimer);
    if (this._link._isOpen()) for (const [to, id] of this.#acks) {
      const t = this.#targets.get(to);
      if (!(t ? t._flows : this.#inServer.has(to))) continue; // the server would not know that it was sent
      this.#acks.delete(to);
      this._link._send({ type: "ack", to, id });
      if (t) t._acked = latest(t._acked, id);
    }
  }

  #save() {
    this.#sendAcks();
    this.#positions._save();
  }
}
