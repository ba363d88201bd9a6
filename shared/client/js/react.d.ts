import type { Events, Sluice, SluiceError, SluiceEvent, State, SubscribeOptions } from "./index.js";

/**
 * Calls the latest handler for each event of a target while the component is there; no target, no subscription. A component
 * that comes back goes on where it was. Returns the error with which the server refused the target, if it did.
 */
export function useSubscription<E extends Events>(
  sluice: Sluice<E>,
  to: string | null | undefined,
  handler: (event: SluiceEvent<E>) => void | Promise<void>,
  options?: Omit<SubscribeOptions, "signal">,
): SluiceError | undefined;

/** The state of the connection. */
export function useSluiceState<E extends Events>(sluice: Sluice<E>): State;
