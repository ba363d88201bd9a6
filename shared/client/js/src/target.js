const parts = (id) => {
  const [ms, seq = 0] = id.split("-");
  return (BigInt(ms) << 64n) + BigInt(seq); // both are 64 bit numbers, beyond what a number holds exactly
};
const isAfter = (a, b) => parts(a) > parts(b);
/** The one of two ids, of which each may be missing, that comes later. */
export const latest = (a, b) => (!a || (b && isAfter(b, a)) ? b : a);

/** The ref of what was asked for in `connect`, whose answers have none. */
export const CONNECT = "c";

/** Gives a frame of a target to its handlers, one after the other, but not to one that an earlier one has ended. */
export async function give({ _owner, _subscriptions }, f) {
  if (f.type === "gap") await _owner._gap(f);
  for (const s of [..._subscriptions]) {
    try {
      if (f.type === "event") await s._handler?.(f);
      else if (f.type === "gap") await s._onGap?.(f);
    } catch (error) {
      _owner._failed(error, f);
    }
  }
}

/**
 * One target: what the server has sent of it and is not handled yet, and where its chain of events stands.
 *
 * Events are taken only while it `_flows`: after the server has answered the last `subscribe` of it (`_ref`; CONNECT is the
 * answer to `connect`, which has none; undefined: nothing was asked on this connection). What comes before is of a position
 * that was left, and comes again.
 *
 * It tells its owner: `_ask(target)`, subscribe after what was seen; `_moved(target, id, frame)`, everything up to the id is handled, if there is a frame, by it; `_gap(frame)`,
 * to be waited for; `_failed(error, frame)`; and counts in `stats`, and in
 * `_waiting` the bytes that wait, at most `_most`.
 */
export class Target {
  _subscriptions = new Set();
  _isGone;
  _flows;
  _ref;
  _after; // where to begin without that
  _seen; // up to here events are in the queue or handled
  _at; // the same of who takes its first event now, behind the one that is being handled
  _acked; // the last id that was acknowledged
  #queue = []; // {_frame, _id, _size}
  #bytes = 0;
  #full; // ask again when the queue is empty
  #mended; // where the last hole was
  #working;

  constructor(to, owner) {
    this.to = to;
    this._owner = owner;
  }

  /** The connection has gone. */
  _left() {
    this._flows = this.#full = this._ref = undefined;
  }

  /** Nothing of it is wanted any more, or can be had. */
  _end() {
    this._isGone = true;
    this._clear();
  }

  /** Forgets what waits and where it stands. */
  _clear() {
    this.#queue = [];
    this._owner._waiting -= this.#bytes;
    this.#bytes = 0;
    this._seen = this._acked = this.#full = undefined;
  }

  /** The server has answered: the subscription stands at an id. */
  _begin(id) {
    this._flows = true;
    this._ref = undefined;
    this._seen = id;
    this.#push(undefined, id, 0);
  }

  /** Takes the frame `gap`. */
  _gap(f) {
    if (!(this._flows || this._ref)) return;
    if (this._flows && isAfter(this._seen, f.after)) return this._owner._ask(this); // of another position: a device's cursor counted, and not what was asked for
    this._seen = f.position;
    this._acked = undefined; // ids may have fallen
    this.#push(f, f.position, 0);
  }

  /** Takes an `event`, or the `skip` in place of one, of so many bytes. */
  _take(f, size) {
    const { stats } = this._owner;
    const { id, prev } = f;
    if (!this._flows) {
      if (!id) stats.dropped++; // live only: it does not come again
      return;
    }
    if (id) {
      if (!isAfter(id, this._seen)) return void stats.repeats++;
      if (isAfter(prev, this._seen) && !this.#cross(f)) return;
    }
    // A target may use as much as it leaves to the others.
    if (this.#queue.length && this.#bytes + size > this._owner._most - this._owner._waiting) {
      if (!id) return void stats.dropped++;
      stats.overflows++;
      this.#full = true;
      this._flows = false;
      return;
    }
    this._seen = id ?? this._seen;
    this.#push(f, id, size);
  }

  // Something is missing before an event. The first time the server is asked for it; should it say once more that the event
  // comes next, then what is between cannot be had, and that is told.
  #cross({ to, id, prev }) {
    if (this.#mended !== this._seen) {
      this._owner.stats.holes++;
      this.#mended = this._seen;
      this._owner._ask(this);
      return false;
    }
    this._gap({ type: "gap", to, after: this._seen, oldest: id, position: prev, reason: "unknown" });
    return true;
  }

  #push(frame, id, size) {
    this.#queue.push({ _frame: frame, _id: id, _size: size });
    this._owner._waiting += size;
    this.#bytes += size;
    if (!this.#working) this.#work();
  }

  async #work() {
    this.#working = true;
    for (let item; (item = this.#queue[0]); ) {
      this._at = item._id ?? this._at;
      if (item._frame) await give(this, item._frame);
      if (item !== this.#queue[0]) continue; // it was cleared meanwhile
      this.#queue.shift();
      this.#bytes -= item._size;
      this._owner._waiting -= item._size;
      if (item._id) this._owner._moved(this, item._id, item._frame);
    }
    this.#working = false;
    if (this.#full) this._owner._ask(this);
  }
}
