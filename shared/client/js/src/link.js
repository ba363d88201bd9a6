import { SluiceError } from "./error.js";
import { CHECK_MS, CONNECT_MS, LONGEST_GOAWAY_MS, PONG_MS, STABLE_MS } from "./times.js";

// Close codes after which there is no use in coming back.
const isFinal = (code) => code >= 4500 || /^100[2379]$/.test(code);

/**
 * Keeps one connection: gets a token, opens the transport, finds out when the link is dead, and comes back after a while.
 * It tells its owner: `_state(name, detail)`, `_hello(token)` (gives the first frame), `_welcome(frame)`, `_frame(frame, size)`,
 * `_tick()` once a second while connected, `_lost()`, `_failed(error)`, and at the end, for whatever reason, `_ended(error)`.
 */
export function createLink({ url, query, transport, getToken, backoff }, owner) {
  let timer; // until the next attempt
  let attempts = 0;
  let goaway; // ms, as the server has said
  let expired = false; // the last token had
  let ended;

  // Of the present connection or the attempt at one, of which `at` is the identity. Times are in ms, 0: not yet.
  let at;
  let socket;
  let over; // aborted at its end
  let watcher;
  let began = 0;
  let welcomed = 0;
  let heard = 0;
  let pinged = 0; // until there is an answer
  let patience; // with that
  let pingMs;

  const send = (frame) => welcomed && socket.send(JSON.stringify(frame));

  async function connect() {
    const mine = (at = {});
    const ifMine = (f) => (...args) => mine === at && f(...args); // what was left has nothing more to say
    timer = clearTimeout(timer);
    began = Date.now();
    pinged = 0;
    over = new AbortController();
    watcher = setInterval(ifMine(watch), 1000);
    owner._state("connecting");
    try {
      const token = await getToken({ signal: over.signal, expired });
      if (mine !== at) return;
      began = Date.now();
      socket = transport({ url, query, hello: owner._hello(token), expired }, { frame: ifMine(take), close: ifMine(lost) });
    } catch (error) {
      if (mine !== at) return;
      if (error?.terminal) return end(error);
      owner._failed(error);
      lost(1006, "" + error);
    }
  }

  function take(text) {
    const mine = at;
    heard = Date.now();
    pinged = 0;
    try {
      const f = JSON.parse(text);
      if (f.type === "welcome") {
        welcomed = heard;
        pingMs = f.ping_ms;
        expired = false;
        owner._welcome(f);
      } else if (f.type === "goaway") {
        goaway = Math.min(f.after_ms, LONGEST_GOAWAY_MS);
      } else {
        owner._frame(f, text.length);
      }
    } catch (error) {
      owner._failed(error);
      if (mine === at) lost(1006, "" + error);
    }
  }

  // Browsers do not show a server's pings to scripts, and keep a dead connection open for minutes: so the client asks.
  function watch() {
    const now = Date.now();
    if (!welcomed) return now - began > CONNECT_MS && lost(1006, "no answer");
    heard = Math.min(heard, now); // should the clock have been set back
    pinged = Math.min(pinged, now);
    if (pinged && now - pinged > patience) return lost(1006, "the link is dead");
    if (!pinged && now - heard > pingMs) ping(Math.min(PONG_MS, pingMs));
    owner._tick();
  }

  function ping(ms) {
    pinged ||= Date.now();
    patience = ms;
    send({ type: "ping" });
  }

  // Leaves the present connection, or does not wait for the next one any more.
  function leave() {
    clearTimeout(timer);
    if (!at) return;
    at = undefined;
    welcomed = 0;
    clearInterval(watcher);
    over.abort();
    socket?.close();
    socket = undefined;
    owner._lost();
  }

  function lost(code, reason) {
    if (welcomed && Date.now() - welcomed > STABLE_MS) attempts = 0;
    leave();
    if (isFinal(code)) return end(new SluiceError(code, reason || "code " + code));
    expired = code === 4401;
    wait(goaway ?? delay(), { code, reason });
  }

  // Full jitter, so that a crowd that lost its server does not come back at once; and never below the floor.
  function delay() {
    const { min, max } = backoff;
    return min + Math.random() * Math.min(max - min, min * 2 ** attempts++);
  }

  function wait(ms, detail) {
    clearTimeout(timer);
    timer = setTimeout(() => {
      goaway = undefined;
      connect();
    }, ms);
    owner._state("waiting", { ...detail, retryInMs: ms });
  }

  /** The link may be there again, or be dead: tries now, or finds out. Who is online again may be one of a crowd: soon. */
  function wake({ type }) {
    if (welcomed) return ping(CHECK_MS);
    if (at || goaway !== undefined) return; // goaway: as long as the server has said
    attempts = 0;
    wait(type === "online" ? delay() : 0);
  }

  /** Leaves until the next wake. */
  function sleep() {
    leave();
    goaway = undefined;
    owner._state("waiting");
  }

  /** Leaves for good. */
  function end(error) {
    if (ended) return;
    ended = true;
    leave();
    owner._ended(error);
  }

  return { _isOpen: () => welcomed > 0, _send: send, _connect: connect, _wake: wake, _sleep: sleep, _end: end };
}
