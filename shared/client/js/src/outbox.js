import { onAbort } from "./abort.js";
import { SluiceError } from "./error.js";
import { ANSWER_MS, KEY_LIFE_MS } from "./times.js";

// 128 random bits. Not randomUUID: browsers have that on secure origins only.
const key = () => crypto.getRandomValues(new Uint32Array(4)).join("-");

/**
 * The publishes that have no answer yet, in order, at most so many and so many bytes. Of each target one is under way at a
 * time, so that a repeat cannot come behind a later one.
 */
export function createOutbox(most, owner) {
  const entries = new Map(); // ref: {_frame, _size, _first, _sent, resolve, reject, _forget}: _first is when it was sent at all
  let bytes = 0;
  let refs = 0;

  /** Resolves with the frame `published`. */
  const add = (to, data = null, { event, id = key(), retain, signal } = {}) => new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const ref = "p" + ++refs;
    const frame = { type: "publish", ref, to, event, id, retain: retain === false ? 0 : undefined, data };
    const size = new Blob([JSON.stringify(frame)]).size;
    if (entries.size >= most.count || bytes + size > most.bytes) throw new SluiceError("queue_full");
    const forget = onAbort(signal, () => over(ref, "reject", signal.reason));
    entries.set(ref, { _frame: frame, _size: size, _first: 0, _sent: 0, resolve, reject, _forget: forget });
    bytes += size;
    flush();
  });

  /** It is over: settle is `resolve` or `reject`. */
  function over(ref, settle, value) {
    const entry = entries.get(ref);
    if (!entry) return;
    entries.delete(ref);
    bytes -= entry._size;
    entry._forget();
    entry[settle](value);
  }

  /** The server refused it; again says after how many ms it may be tried once more, if so. */
  function refused(ref, error, again) {
    const entry = entries.get(ref);
    if (!entry) return;
    if (again) entry._sent = Date.now() + again - ANSWER_MS;
    else over(ref, "reject", error);
  }

  /** Sends what may be sent now. */
  function flush() {
    const now = Date.now();
    const busy = new Set();
    for (const [ref, entry] of entries) {
      const { _frame: frame, _size: size } = entry;
      const most = owner.limits?.max_message_bytes;
      if (entry._first && now - entry._first > KEY_LIFE_MS) {
        over(ref, "reject", new SluiceError("unknown", "no answer: it may have been published"));
      } else if (size > most) { // the server would close the connection
        over(ref, "reject", new SluiceError("too_large", "larger than " + most + " bytes"));
      } else if (!busy.has(frame.to)) {
        busy.add(frame.to);
        if (!owner._link._isOpen() || now - entry._sent < ANSWER_MS) continue;
        entry._sent = now;
        entry._first ||= now;
        owner._link._send(frame);
      }
    }
  }

  return {
    _add: add, _over: over, _refused: refused, _flush: flush,
    /** The connection has gone: what has no answer goes out again on the next one. */
    _lost() {
      for (const entry of entries.values()) entry._sent = 0;
    },
    _fail(error) {
      for (const ref of entries.keys()) over(ref, "reject", error);
    },
  };
}
