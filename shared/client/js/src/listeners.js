import { onAbort } from "./abort.js";

/** Who listens to what happens. */
export class Listeners {
  #all = {}; // Sets, by type

  /** Calls listener at each `state`, `gap`, `resumed` or `error`. Returns what ends that. */
  on(type, listener, { signal } = {}) {
    const all = (this.#all[type] ??= new Set()).add(listener);
    onAbort(signal, () => all.delete(listener));
    return () => all.delete(listener);
  }

  _emit(type, value) {
    for (const listener of this.#all[type] ?? []) {
      try {
        listener(value);
      } catch (error) {
        console.error(error);
      }
    }
  }

  _failed(error, event) {
    if (this.#all.error?.size) this._emit("error", { error, event });
    else console.error("sluice:", error);
  }
}
