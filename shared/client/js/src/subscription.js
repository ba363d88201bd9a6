import { closed } from "./error.js";

/**
 * What `subscribe` returns: a handler of a target or, without one, what `for await` goes through. `ready` resolves with the
 * position when the server has answered, and rejects when it refuses.
 */
export class Subscription {
  #detach;
  #item; // {event, _handled}: there is one at a time, since the target waits until it is handled
  #wake;
  #error;

  constructor(to, handler, onGap, detach) {
    this.to = to;
    this._onGap = onGap;
    this._handler = handler ?? ((event) => new Promise((handled) => {
      this.#item = { event, _handled: handled };
      this.#wake?.();
    }));
    this.#detach = detach;
    this.ready = new Promise((resolve, reject) => {
      this._begun = resolve;
      this._refused = reject;
    });
    this.ready.catch(() => {}); // who does not ask need not hear of it here
  }

  /** Ends it, and forgets where it stood: who subscribes again begins from then on. */
  unsubscribe() {
    this._end(undefined, true);
  }

  /** Ends it. Without forget a later subscribe goes on where this one stood. */
  _end(error, forget) {
    if (!this._handler) return;
    this._handler = this._onGap = undefined; // it is over
    this.#error = error;
    this.#detach(forget);
    this._refused(error ?? closed());
    this.#item?._handled();
    this.#item = undefined;
    this.#wake?.(); // at the end
  }

  /** An event is handled when the loop asks for the next one. */
  async *[Symbol.asyncIterator]() {
    try {
      while (this._handler) {
        if (this.#item) {
          yield this.#item.event;
          this.#item?._handled();
          this.#item = undefined;
        } else await new Promise((wake) => (this.#wake = wake));
      }
    } finally {
      this._end();
    }
    if (this.#error) throw this.#error;
  }
}
