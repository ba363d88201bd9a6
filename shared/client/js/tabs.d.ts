import type { Events, Sluice } from "./index.js";

export { SluiceError } from "./index.js";

/**
 * In a SharedWorker: serves all tabs that take it with one client. To be called before anything is waited for. When the client is
 * closed, the worker ends.
 */
export function serve<E extends Events>(
  sluice: Sluice<E>,
  options?: {
    /** How long, in ms, a tab may let others wait for its handlers before they go on without it. Default: 10,000. */
    patience?: number;
  },
): void;

/**
 * The client of all tabs that take the same worker. `worker` is called at the begin, and again when the worker has ended, or the tab
 * comes back. `alone` gives the tab a client of its own where the browser has no SharedWorker, or the page may take no locks.
 */
export function tabs<E extends Events = Events>(
  worker: () => { readonly port: MessagePort; onerror: ((event: any) => any) | null },
  alone: () => Sluice<E>,
): Sluice<E>;
