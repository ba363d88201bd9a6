import { useEffect, useRef, useState, useSyncExternalStore } from "react";

/**
 * Calls the latest handler for each event of a target while the component is there. If it comes back it goes on where it
 * was. Returns the error with which the server refused the target, if it did.
 */
export function useSubscription(sluice, to, handler, options) {
  const latest = useRef();
  useEffect(() => {
    latest.current = { handler, ...options };
  });
  const [refused, setRefused] = useState();
  useEffect(() => {
    setRefused(undefined);
    if (!to) return;
    const here = new AbortController();
    const { after } = latest.current;
    sluice.subscribe(to, (event) => latest.current.handler(event), {
      after, onGap: (gap) => latest.current.onGap?.(gap), signal: here.signal,
    }).ready.catch((error) => here.signal.aborted || setRefused(error));
    return () => here.abort();
  }, [sluice, to]);
  return refused;
}

/** The state of the connection: `connecting`, `connected`, `waiting` or `closed`. */
export function useSluiceState(sluice) {
  return useSyncExternalStore((changed) => sluice.on("state", changed), () => sluice.state, () => "connecting");
}
