import { SluiceError } from "./error.js";
import { hold, whenGone } from "./locks.js";
import { key } from "./outbox.js";
import { latest } from "./target.js";

const MOST_KEPT = 1 << 20; // characters of events, for tabs that come back

// Errors do not keep what they are on their way between a worker and a tab.
const plain = (error) => error && { code: error.code, message: error.message, name: error.name };

/**
 * Serves the tabs of a SharedWorker, in which this is called, with one client. What goes over a port:
 *
 * A tab says `hello` with its lock, and `bye`; `shown`; `join` a target (`ref`: this once; `seen`: what it has; `after`) and `leave` it (`forget`);
 * `ack`; `request` (`ref`, unique among all tabs; `ttl`, ms: it was asked for before) and `abort`; and `done` with the number `n` of
 * whatever had one, when that is handled. A tab that comes back does so over another port.
 *
 * It is told `hello` with the worker's lock; `news` (of `state`, `resumed`, `error`, and what is so `now`); `begun` (a target stands at `position`; `fell`: ids may have fallen), `frame` (an event
 * or gap), `ended`; the `answer` to a request; and `late`: it was left out, since others had to wait for it.
 *
 * An event goes to all tabs of its target at once, and the next one when all of them are done with it: so the client, which saves its position then,
 * needs to know nothing of tabs. A tab that has ended, or is late, is not waited for. One that comes back is given what it missed, as far as that is kept.
 */
export function serve(sluice, { patience = 10_000 } = {}) {
  const name = "sluice:" + key();
  const held = hold(name);
  const tabs = new Set();
  const rooms = new Map(); // target: {_to, _members (tab: ref), _at (what was given last), _kept (the last events), _size (of them), _stop, _subscription}
  const requests = new Map(); // ref: {_stop, _answer}
  let state = { state: sluice.state };
  let fell; // ids of a target have fallen: Redis lost what it had
  let user;

  // The client leaves and comes back as it does in a page.
  const page = (type) => dispatchEvent(Object.assign(new Event(type), { persisted: true }));
  const rest = () => tabs.size || requests.size || page("pagehide");

  const news = (of, value) => ({
    type: "news", of, value: { ...value, error: plain(value.error) }, now: { user: sluice.user, limits: sluice.limits, stats: sluice.stats },
  });
  for (const type of ["state", "resumed", "error"]) sluice.on(type, (value) => {
    if (type === "state") state = value;
    if (user && user !== sluice.user) for (const room of rooms.values()) forget(room, "0"); // another one may begin before what that had
    user = sluice.user;
    if (type === "error" && !tabs.size) console.error("sluice:", value.error);
    for (const tab of tabs) tab._ask(news(type, value));
    if (value.state === "closed") setTimeout(close); // who comes then begins with another worker
  });

  setInterval(() => {
    for (const tab of tabs) tab._watch();
  }, 1000);

  const ask = (room, tab, frame) => tab._ask({ type: "frame", to: room._to, ref: room._members.get(tab), frame }, room);

  function spread(room, frame) {
    const { type, id, position, after } = frame;
    if (type === "gap") {
      forget(room, position);
      fell ||= latest(after, position) !== position;
    } else if (id) {
      room._at = id;
      keep(room, frame);
    }
    return Promise.all([...room._members.keys()].map((tab) => ask(room, tab, frame)));
  }

  function forget(room, at) {
    room._at = at;
    room._kept = [];
    room._size = 0;
  }

  function keep(room, frame) {
    const size = (f) => JSON.stringify(f).length;
    room._kept.push(frame);
    room._size += size(frame);
    while (room._size > MOST_KEPT / rooms.size) room._size -= size(room._kept.shift());
  }

  async function run(room) {
    let error;
    try {
      for await (const event of room._subscription) await spread(room, event);
    } catch (e) {
      error = plain(e);
    }
    if (rooms.get(room._to) !== room) return; // everybody has left
    rooms.delete(room._to);
    for (const [tab, ref] of room._members) tab._tell({ type: "ended", to: room._to, ref, error });
  }

  function join(tab, { ref, to, seen, after }) {
    if (!tabs.has(tab) || sluice.state === "closed") return; // it knows, or will
    let room = rooms.get(to);
    if (!room) {
      const stop = new AbortController();
      room = { _to: to, _members: new Map(), _kept: [], _size: 0, _stop: stop };
      room._subscription = sluice.subscribe(to, { after, signal: stop.signal, onGap: (gap) => spread(room, gap) });
      rooms.set(to, room);
      run(room);
    }
    room._members.set(tab, ref);
    const begin = (position) => {
      const next = seen ? room._kept.findIndex((f) => f.id === seen || f.prev === seen) : -1;
      tab._tell({ type: "begun", to, ref, fell, position: next < 0 ? position : seen });
      if (next >= 0) for (const f of room._kept.slice(next)) ask(room, tab, f);
    };
    if (room._at) begin(room._at);
    else room._subscription.ready.then(begin, () => {});
  }

  function leave(tab, to, forget) {
    const room = rooms.get(to);
    if (!room?._members.delete(tab)) return;
    if (!room._members.size) {
      rooms.delete(to);
      if (forget) room._subscription.unsubscribe();
      else room._stop.abort();
    }
    tab._pass(room); // behind that: what it had not handled is not handled if it was the only one
  }

  async function request(tab, { ref, method, to, data, options, ttl }) {
    if (!requests.has(ref)) {
      const stop = new AbortController();
      if (ttl) setTimeout(() => stop.abort(new SluiceError("unknown", "no answer")), ttl);
      const answer = sluice[method](to, data, { ...options, signal: stop.signal });
      requests.set(ref, { _stop: stop, _answer: answer.then((value) => ({ value }), (error) => ({ error: plain(error) })) });
      requests.get(ref)._answer.then(() => (requests.delete(ref), rest()));
    }
    tab._tell({ type: "answer", ref, ...(await requests.get(ref)._answer) });
  }

  addEventListener("connect", ({ ports: [port] }) => {
    const asks = new Map(); // n: {_room, _done, _age}
    let n = 0;
    const pass = (room) => {
      for (const [n, ask] of asks) if (!room || ask._room === room) {
        asks.delete(n);
        ask._done();
      }
    };
    const tab = {
      _tell: (m) => port.postMessage(m),
      _ask: (m, room) => new Promise((done) => {
        asks.set(++n, { _room: room, _done: done, _age: 0 });
        tab._tell({ ...m, n });
      }),
      _pass: pass,
      // Seconds are counted, since the clock goes on while a computer sleeps. Alone with a target, it makes nobody wait.
      _watch() {
        if (![...asks.values()].some((ask) => !(ask._room?._members.size < 2) && ++ask._age * 1000 > patience)) return;
        end();
        tab._tell({ type: "late" });
      },
    };
    function end() {
      if (!tabs.delete(tab)) return;
      for (const to of rooms.keys()) leave(tab, to);
      pass();
      rest();
    }

    port.onmessage = ({ data: m }) => {
      switch (m.type) {
        case "hello":
          tabs.add(tab);
          held.then(() => tab._tell({ type: "hello", lock: name }));
          tab._ask(news("state", state));
          whenGone(m.lock, end);
          return page("pageshow");
        case "shown":
          return page("pageshow");
        case "bye":
          return end();
        case "join":
          return join(tab, m);
        case "leave":
          return leave(tab, m.to, m.forget);
        case "done":
          asks.get(m.n)?._done();
          return asks.delete(m.n);
        case "ack":
          return sluice.ack(m.to, m.id);
        case "request":
          return request(tab, m);
        case "abort":
          requests.get(m.ref)?._stop.abort();
      }
    };
  });
}
