import type { Clock } from "./clock.ts";
import type { ListedRun } from "./journal.ts";

type Announce = (run: ListedRun | undefined) => void;

/** Who waits for a run to end, and is told of it, or is to look again when it may have. */
export class RunEndings {
  readonly #clock: Clock;
  readonly #waiting = new Map<string, Set<Announce>>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /**
   * Resolves at the next announcement, with the run as it was written if that is known, or at `deadline` if there is one;
   * `forget` ends the wait, and must be called.
   */
  next(
    runId: string,
    deadline: number | null,
  ): { readonly announced: Promise<ListedRun | undefined>; readonly forget: () => void } {
    const { promise: announced, resolve } = Promise.withResolvers<ListedRun | undefined>();
    const waiting = this.#waiting.get(runId) ?? new Set();
    this.#waiting.set(runId, waiting.add(resolve));
    const cancelTimer =
      deadline === null ? () => {} : this.#clock.setTimer(deadline, () => resolve(undefined));
    const forget = (): void => {
      cancelTimer();
      waiting.delete(resolve);
      if (waiting.size === 0 && this.#waiting.get(runId) === waiting) this.#waiting.delete(runId);
    };
    return { announced, forget };
  }

  announce(runId: string, run?: ListedRun): void {
    for (const resolve of this.#waiting.get(runId) ?? []) resolve(run);
  }

  announceAll(): void {
    for (const runId of this.#waiting.keys()) this.announce(runId);
  }
}
