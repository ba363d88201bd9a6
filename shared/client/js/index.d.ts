/** Names of events, and what their data are: `{ chat: { text: string }; typing: { who: string } }`. */
export type Events = Record<string, any>;

/** An event. Which type `data` has follows from its name, `event`. */
export type SluiceEvent<E extends Events = Events> = {
  [K in keyof E & string]: {
    type: "event";
    /** `user:<id>`, `topic:<name>` or `all`. */
    to: string;
    /** Not there for events that are live only. */
    id?: string;
    /** The id of the event before it. */
    prev?: string;
    event: K;
    /** Who it is from, for what clients publish. */
    from?: string;
    data: E[K];
    /** There if data was neither JSON nor text: it is in base64. */
    enc?: "base64";
  };
}[keyof E & string];

/** Events that cannot be had any more. */
export interface Gap {
  type: "gap";
  to: string;
  /** The last event before the gap that this client has. */
  after: string;
  /** The oldest event that is there, "0" if none. */
  oldest: string;
  /** From here on it goes on. */
  position: string;
  /** `late`: of `tabs`, the others went on without this one. */
  reason: "trimmed" | "expired" | "unknown" | "late";
}

export interface Published {
  to: string;
  id: string;
  /** There was an event with this idempotency key: `id` is the id of that one. */
  duplicate: boolean;
}

export type State = "connecting" | "connected" | "waiting" | "closed";

export interface StateChange {
  state: State;
  /** waiting: the close code of the connection that was lost, and the reason that came with it. */
  code?: number;
  reason?: string;
  /** waiting: how many ms until the next attempt; not there while the page is put away. */
  retryInMs?: number;
  /** connected: the gateway, and the name that it has for this connection. */
  server?: string;
  conn?: string;
  /** connected: `sse` if it is an event stream. */
  transport?: "sse";
  /** closed: why, if not by `close`. */
  error?: Error;
}

export interface Resumed {
  /** The targets of which this client had a position. */
  targets: string[];
  /** Nothing was missing: there was no gap in any of them. */
  recovered: boolean;
}

export interface Failure {
  error: unknown;
  /** The event or gap whose handler threw. */
  event?: unknown;
}

export interface Listeners {
  state: StateChange;
  gap: Gap;
  resumed: Resumed;
  error: Failure;
}

/** Like localStorage and sessionStorage; the methods may return promises. */
export interface PositionStorage {
  getItem(key: string): string | null | undefined | Promise<string | null | undefined>;
  setItem(key: string, value: string): unknown;
}

/** Opens one connection: see src/websocket.js. */
export type Transport = (
  request: { url: string; query: string; hello: Record<string, unknown>; expired: boolean },
  on: { frame(text: string): void; close(code: number, reason: string): void },
) => { send(text: string): void; close(): void };

/** The transport that is used if no other one is given. */
export const websocket: Transport;

export interface Options<E extends Events = Events> {
  /** Where the gateways are, `https://events.example.com`. In a page: its own origin. */
  url?: string | URL;
  /**
   * Asked for a token each time before a connection is opened. `expired`: the last one had, so do not give it once more.
   * An error with `terminal: true` closes the client; after any other it is tried again.
   */
  getToken(why: { signal: AbortSignal; expired: boolean }): string | Promise<string>;
  /** Topics to subscribe to from the start; their events go to `onEvent`. */
  topics?: string[];
  /** Handles the events of `topics`, of the own user and of `all`. */
  onEvent?: (event: SluiceEvent<E>) => unknown;
  /** Called, and waited for, when events of a target cannot be had any more: the place to fetch state again. */
  onGap?: (gap: Gap) => unknown;
  /** After a gap give what is still there, instead of only what is new. */
  retained?: boolean;
  /** The name of this device: the server keeps its positions. */
  device?: string;
  /** Acknowledge what is handled. Default: if there is a device. */
  autoAck?: boolean;
  /** Keeps the positions over a reload, under `storageKey`. */
  storage?: PositionStorage;
  storageKey?: string;
  /** The wait before coming back, in ms: `min` and a random part of what doubles with each attempt up to `max`. */
  backoff?: { min?: number; max?: number };
  /** How many publishes and calls, and how many bytes of them, and of events that are not handled, may wait. */
  queue?: { count?: number; bytes?: number };
  transport?: Transport;
  /** Closes the client. */
  signal?: AbortSignal;
}

export interface SubscribeOptions {
  /** Where to begin if no position is known: an id, or "earliest" for all that is retained. Else: from now on. */
  after?: string;
  onGap?: (gap: Gap) => unknown;
  /** Ends the subscription and keeps its position. */
  signal?: AbortSignal;
}

export interface PublishOptions<K = string> {
  /** The name of the event, `message` if it has none. */
  event?: K;
  /** Idempotency key; a random one if there is none. */
  id?: string;
  /** false: live only, not kept for who is away. */
  retain?: boolean;
  /** Stops waiting; the event may have been sent. */
  signal?: AbortSignal;
}

export interface CallOptions {
  /** Idempotency key; a random one if there is none. Functions are told it with each try. */
  id?: string;
  /** Stops waiting; the function may have been asked. */
  signal?: AbortSignal;
  /** Stops waiting after so many ms, with a `TimeoutError` like that of `AbortSignal.timeout`. */
  timeout?: number;
}

export interface Subscription<E extends Events = Events> extends AsyncIterable<SluiceEvent<E>> {
  readonly to: string;
  /** Resolves with the position when the server has answered; rejects when it refuses, or the subscription ends before. */
  readonly ready: Promise<string>;
  /** Ends it and forgets its position, also that of the device in the server. */
  unsubscribe(): void;
}

export class SluiceError extends Error {
  constructor(code: string | number, message?: string);
  /** A code of the protocol, the number of a close code, or `closed`, `queue_full`, `unknown`, `user_changed`. */
  code: string | number;
}

export class Sluice<E extends Events = Events> {
  constructor(options: Options<E>);
  readonly state: State;
  /** Who this is, as soon as a connection has said so. */
  readonly user?: string;
  /** What the server accepts, as soon as a connection has said so. */
  readonly limits?: { max_data_bytes: number; max_message_bytes: number; max_targets: number };
  /** Repeats that were left out, holes that were mended, events that were left for later and live-only ones that were dropped. */
  readonly stats: { repeats: number; holes: number; overflows: number; dropped: number };

  /** Returns what ends it. */
  on<T extends keyof Listeners>(type: T, listener: (value: Listeners[T]) => void, options?: { signal?: AbortSignal }): () => void;

  /** Calls the handler for each event, one after the other; the next one comes when a promise that it returned has ended. */
  subscribe(to: string, handler: (event: SluiceEvent<E>) => unknown, options?: SubscribeOptions): Subscription<E>;
  /** To be used with `for await`: an event is handled when the loop asks for the next one. */
  subscribe(to: string, options?: SubscribeOptions): Subscription<E>;

  /** Resolves when the event was appended. It is sent again after a break, and stays one event. */
  publish<K extends keyof E & string>(to: string, data: E[K], options: PublishOptions<K> & { event: K }): Promise<Published>;
  publish(to: string, data: "message" extends keyof E ? E["message"] : unknown, options?: PublishOptions<never>): Promise<Published>;

  /** Asks a function, and resolves with its reply. It is asked again after a break, under the same key. */
  call<T = any>(name: string, data?: unknown, options?: CallOptions): Promise<T>;

  /** Tells the server that this device has everything of the event's target up to the event. */
  ack(event: { to: string; id?: string }): void;
  ack(to: string, id: string): void;

  /** Ends everything. */
  close(): void;
}
