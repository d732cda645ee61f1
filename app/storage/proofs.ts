/** So many reads of the own record may be under way at once; whoever asks meanwhile shares the next one. */
const maxInFlight = 4;

/** Shares proofs: each covers exactly those who asked before it was sent, so none is joined once it is under way. */
export class Proofs {
  readonly #read: () => Promise<void>;
  #queued: { readonly promise: Promise<void>; readonly send: () => void } | null = null;
  #inFlight = 0;

  constructor(read: () => Promise<void>) {
    this.#read = read;
  }

  next(): Promise<void> {
    if (this.#queued !== null) return this.#queued.promise;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const send = (): void => {
      this.#queued = null;
      this.#inFlight += 1;
      this.#read()
        .then(resolve, reject)
        .finally(() => {
          this.#inFlight -= 1;
          this.#queued?.send();
        });
    };
    this.#queued = { promise, send };
    // After this turn of the event loop: all who ask within it share one read.
    if (this.#inFlight < maxInFlight) setImmediate(() => this.#queued?.promise === promise && send());
    return promise;
  }
}
