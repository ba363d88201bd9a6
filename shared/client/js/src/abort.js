/** Calls f when the signal, if there is one, is aborted. Returns what ends that. */
export function onAbort(signal, f) {
  if (signal?.aborted) f();
  signal?.addEventListener("abort", f);
  return () => signal?.removeEventListener("abort", f);
}
