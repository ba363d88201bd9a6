// Times in ms, in a file that imports nothing: then they cost no name in what gateways serve.

export const CONNECT_MS = 15_000; // for the token, and again for `welcome`
export const PONG_MS = 10_000; // for the answer to a ping
export const CHECK_MS = 5_000; // the same, when there is a reason to doubt
export const STABLE_MS = 10_000; // a connection that lived for so long begins the backoff again
export const LONGEST_GOAWAY_MS = 3_600_000;

export const AGAIN_MS = 1000; // until what the server cannot do now is asked for again, if it does not say
export const ACK_MS = 100; // acks of a target are gathered for so long; each says it all

export const ANSWER_MS = 15_000; // for `published`: it may have died with the process that would have given it
export const KEY_LIFE_MS = 540_000; // the server knows an idempotency key for 10 minutes; later it would be a second event

export const SAVE_MS = 100; // between two writes of positions: events can come by thousands a second, and storage is slow

export const GATHER_MS = 20; // subscriptions of an event stream that are asked for together
