/**
 * Tells what happens to the page, as far as there is one. `wake(event)`: the link may be there again, or be dead; `sleep()`: the page is put away whole, and may come back; `save()`: it may be gone any moment.
 * Returns what ends it.
 */
export function watchPage(wake, sleep, save) {
  const over = new AbortController();
  const on = (target, type, f) => target?.addEventListener?.(type, f, { signal: over.signal });
  const page = globalThis.document;
  on(globalThis, "online", wake);
  on(globalThis, "offline", wake); // is it? a ping will tell
  // A page with an open WebSocket is not put into the page cache. One that is replaced must handle no event any more, since
  // the next page would begin behind it.
  on(globalThis, "pagehide", sleep);
  on(globalThis, "pageshow", (e) => e.persisted && wake(e));
  on(page, "visibilitychange", (e) => (page.visibilityState === "visible" ? wake(e) : save()));
  on(page, "freeze", sleep);
  on(page, "resume", wake);
  return () => over.abort();
}
