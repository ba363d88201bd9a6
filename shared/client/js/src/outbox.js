import { onAbort } from "./abort.js";
import { closed, SluiceError } from "./error.js";
import { ANSWER_MS, KEY_LIFE_MS } from "./times.js";

// 128 random bits. Not randomUUID: browsers have that on secure origins only.
export const key = () => crypto.getRandomValues(new Uint32Array(4)).join("-");

/**
 * The publishes and calls that have no answer yet, in order, at most so many and so many bytes. Of each target one is under
 * way at a time, and one call, so that a repeat cannot come behind a later one.
 */
export function createOutbox(most, owner) {
  const entries = new Map(); // ref: {_frame, _size, _first, _next, _resolve, _reject, _forget}: when it was sent first, and may be sent again
  let bytes = 0;
  let refs = 0;

  /** Resolves with the frame that answers. */
  const add = (fields, { event, id = key(), retain, signal, timeout } = {}) => new Promise((resolve, reject) => {
    if (owner.state === "closed") throw closed();
    const ref = fields.type[0] + ++refs;
    const frame = { ...fields, ref, event, id, retain: retain === false ? 0 : undefined };
    const size = new Blob([JSON.stringify(frame)]).size;
    if (entries.size >= most.count || bytes + size > most.bytes) throw new SluiceError("queue_full");
    const entry = { _frame: frame, _size: size, _first: 0, _next: 0, _resolve: resolve, _reject: reject };
    entries.set(ref, entry);
    bytes += size;
    const until = (signal) => onAbort(signal, () => over(ref, signal.reason));
    entry._forget = until(signal);
    if (timeout) until(AbortSignal.timeout(timeout));
    flush();
  });

  /** It is over: frame, if there is one, is the answer. */
  function over(ref, error, frame) {
    const entry = entries.get(ref);
    if (!entry) return;
    entries.delete(ref);
    bytes -= entry._size;
    entry._forget?.(); // not there yet: it was aborted before
    frame ? entry._resolve(frame) : entry._reject(error);
  }

  /** The server refused it; again says after how many ms it may be tried once more, if so. */
  function refused(ref, error, again) {
    const entry = entries.get(ref);
    if (!entry) return;
    if (again) entry._next = Date.now() + again;
    else over(ref, error);
  }

  /** Sends what may be sent now. */
  function flush() {
    const now = Date.now();
    const busy = new Set();
    for (const [ref, entry] of entries) {
      const { to } = entry._frame;
      const most = owner.limits?.max_message_bytes;
      if (entry._first && now - entry._first > KEY_LIFE_MS) {
        over(ref, new SluiceError("unknown", "no answer"));
      } else if (entry._size > most) { // the server would close the connection
        over(ref, new SluiceError("too_large", "over " + most + " bytes"));
      } else if (!busy.has(to)) {
        busy.add(to);
        if (!owner._link._isOpen() || now < entry._next) continue;
        entry._next = to ? now + ANSWER_MS : Infinity; // of a call the server says when no answer comes
        entry._first ||= now;
        owner._link._send(entry._frame);
      }
    }
  }

  return {
    _add: add, _over: over, _refused: refused, _flush: flush,
    /** The connection has gone: what has no answer goes out again on the next one. */
    _lost() {
      for (const entry of entries.values()) entry._next = 0;
    },
    _fail(error) {
      for (const ref of entries.keys()) over(ref, error);
    },
  };
}
