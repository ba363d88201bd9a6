import { onAbort } from "./abort.js";

// A lock ends with the page or the worker that holds it, however that ends: so who waits for it learns of that.

/** Resolves when it holds the lock of this name, until the signal, if there is one, is aborted. */
export const hold = (name, signal) => new Promise((held) => {
  navigator.locks.request(name, { signal }, () => new Promise((release) => {
    onAbort(signal, release);
    held();
  })).catch(() => {}); // aborted before
});

/** Calls f when who holds the lock has ended. */
export const whenGone = (name, f, signal) => {
  navigator.locks.request(name, { signal }, () => f()).catch(() => {});
};
