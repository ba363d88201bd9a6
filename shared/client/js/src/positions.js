import { SAVE_MS } from "./times.js";

/**
 * The position of each target: up to where its events have been handled. They are kept in memory and, if there is one, in a
 * storage like localStorage, whose methods may also return promises. owner: `_failed(error)`, and `user`, whose they are.
 */
export function createPositions(storage, key, owner) {
  const ids = new Map();
  let changed;
  let pause;

  async function load() {
    try {
      const { user, at = {} } = JSON.parse((await storage?.getItem(key)) ?? null) ?? {};
      owner.user = user;
      for (const [to, id] of Object.entries(at)) if (/^\d+(-\d+)?$/.test(id)) ids.set(to, "" + id);
    } catch (error) {
      owner._failed(error);
    }
  }

  function set(to, id) {
    ids.delete(to); // so that the first of the Map is the one that moved the longest ago
    if (id) ids.set(to, id);
    if (ids.size > 10_000) // targets
      ids.delete(ids.keys().next().value);
    changed = true;
    if (!pause) save();
  }

  /** Writes what is not written yet. A synchronous storage has it when this returns. */
  async function save() {
    if (!changed || !storage || !owner.user) return; // before it is known whose they are, and loaded, there is nothing to be saved
    changed = false;
    clearTimeout(pause);
    pause = setTimeout(() => {
      pause = 0;
      save();
    }, SAVE_MS);
    try {
      await storage.setItem(key, JSON.stringify({ user: owner.user, at: Object.fromEntries(ids) }));
    } catch (error) {
      owner._failed(error);
    }
  }

  return {
    _load: load, _get: (to) => ids.get(to), _set: set, _save: save,
    _clear() {
      ids.clear();
      set();
    },
  };
}
