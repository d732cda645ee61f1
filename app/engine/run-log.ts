import type { Clock } from "./clock.ts";
import type { Journal, Write } from "./journal.ts";

/** Between attempts to write what the file did not take (disk full, or locked for long). */
const firstRetryMs = 100;
const maxRetryMs = 5_000;

/**
 * A run's appends, in call order. What comes while one is under way goes out with the next, as one; an append that fails
 * is repeated until it succeeds or the run is let go, since what it records has happened.
 */
export class RunLog {
  readonly #journal: Journal;
  readonly #clock: Clock;
  readonly #onTrouble: (error: unknown) => void;
  #pending: { readonly writes: readonly Write[]; readonly done: () => void }[] = [];
  #draining: Promise<void> | null = null;
  #closed = false;

  constructor(journal: Journal, clock: Clock, onTrouble: (error: unknown) => void) {
    this.#journal = journal;
    this.#clock = clock;
    this.#onTrouble = onTrouble;
  }

  /** Resolves when the writes are committed; never, if the run is let go first. */
  append(writes: readonly Write[]): Promise<void> {
    return new Promise((resolve) => {
      if (this.#closed) return;
      this.#pending.push({ writes, done: resolve });
      this.#draining ??= this.#drain();
    });
  }

  /** Resolves when nothing waits to be written. */
  async written(): Promise<void> {
    while (this.#draining !== null && !this.#closed) await this.#draining;
  }

  /** Nothing is written from now on. */
  close(): void {
    this.#closed = true;
  }

  async #drain(): Promise<void> {
    while (this.#pending.length > 0 && !this.#closed) {
      const batch = this.#pending;
      this.#pending = [];
      await this.#appendUntilTaken(batch.flatMap(({ writes }) => writes));
      if (this.#closed) break;
      for (const { done } of batch) done();
    }
    this.#draining = null;
  }

  async #appendUntilTaken(writes: readonly Write[]): Promise<void> {
    for (let retryMs = firstRetryMs; !this.#closed; retryMs = Math.min(retryMs * 2, maxRetryMs)) {
      try {
        return await this.#journal.append(writes);
      } catch (error) {
        this.#onTrouble(error);
        await new Promise<void>((resolve) => this.#clock.setTimer(this.#clock.now() + retryMs, resolve));
      }
    }
  }
}
