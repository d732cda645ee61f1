import type { Clock } from "./clock.ts";

/** Who waits for a run to end, and is to look again when it may have. */
export class RunEndings {
  readonly #clock: Clock;
  readonly #waiting = new Map<string, Set<() => void>>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Resolves at the next announcement, or at `deadline` if there is one; `forget` ends the wait, and must be called. */
  next(
    runId: string,
    deadline: number | null,
  ): { readonly announced: Promise<void>; readonly forget: () => void } {
    const { promise: announced, resolve } = Promise.withResolvers<void>();
    const waiting = this.#waiting.get(runId) ?? new Set();
    this.#waiting.set(runId, waiting.add(resolve));
    const cancelTimer = deadline === null ? () => {} : this.#clock.setTimer(deadline, resolve);
    const forget = (): void => {
      cancelTimer();
      waiting.delete(resolve);
      if (waiting.size === 0 && this.#waiting.get(runId) === waiting) this.#waiting.delete(runId);
    };
    return { announced, forget };
  }

  announce(runId: string): void {
    for (const resolve of this.#waiting.get(runId) ?? []) resolve();
  }

  announceAll(): void {
    for (const runId of this.#waiting.keys()) this.announce(runId);
  }
}
