import { QueueFullError } from "./errors.ts";

/** Runs one operation after the other, in the order of the calls; each in the async context of its own caller. */
export class SerialQueue {
  readonly #path: string;
  readonly #limit: number;
  #waiting = 0;
  #tail: Promise<unknown> = Promise.resolve();

  /** `limit` is how many operations may be queued, the running one included. */
  constructor(path: string, limit: number) {
    this.#path = path;
    this.#limit = limit;
  }

  /** Rejects with a `QueueFullError` if too many wait. An operation that fails does not stop the ones behind it. */
  run<T>(operation: () => T | Promise<T>): Promise<T> {
    if (this.#waiting >= this.#limit) return Promise.reject(new QueueFullError(this.#path, this.#limit));
    return this.runLast(operation);
  }

  /** As `run`, whatever the limit: for the operation that ends the queue. */
  runLast<T>(operation: () => T | Promise<T>): Promise<T> {
    this.#waiting += 1;
    const result = this.#tail.then(operation);
    this.#tail = result.then(this.#leave, this.#leave);
    return result;
  }

  readonly #leave = (): void => {
    this.#waiting -= 1;
  };
}
