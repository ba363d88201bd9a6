import { Sluice as Client, type Events, type Options as ClientOptions, type Transport } from "./index.js";

export * from "./index.js";

/** The transport over an event stream (`GET /v1/sse`) and HTTP: see src/stream.js. */
export const stream: Transport;

export interface Options<E extends Events = Events> extends Omit<ClientOptions<E>, "transport"> {
  /** The door: "ws" or "sse". Default: the WebSocket, and a stream after two in a row on which nothing came. */
  transport?: "ws" | "sse" | Transport;
}

/** The client with both doors. */
export class Sluice<E extends Events = Events> extends Client<E> {
  constructor(options: Options<E>);
}
