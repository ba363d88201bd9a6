/**
 * Why something could not be done. `code` is a code of the protocol's `error` frames (`forbidden`, `too_large`, ...), the
 * number of a close code (4501), or one of this client's own: `closed`, `queue_full`, `unknown`, `user_changed`.
 */
export const closed = () => new SluiceError("closed");

export class SluiceError extends Error {
  name = "SluiceError";

  constructor(code, message = code) {
    super(message);
    this.code = code;
  }
}
