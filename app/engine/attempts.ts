/** The attempts of a run's steps that are under way, and how they come to their end. */
export class Attempts {
  /** Called when the run ends or is let go: attempts whose signal was asked for abort it. */
  readonly onLetGo = new Set<() => void>();
  #inFlight = 0;
  #noneInFlight: (() => void) | null = null;
  #begin = true;
  #letGoReason: string | null = null;

  /** Whether attempts may still begin. */
  get mayBegin(): boolean {
    return this.#begin;
  }

  /** Runs an attempt; never, once none begins any more. */
  async run<Result>(work: () => Promise<Result>): Promise<Result> {
    if (!this.#begin) return await new Promise<never>(() => {});
    this.#inFlight += 1;
    try {
      return await work();
    } finally {
      this.#inFlight -= 1;
      if (this.#inFlight === 0) this.#noneInFlight?.();
    }
  }

  /** None begins from now on. Resolves when none is under way, or when they were let go. */
  async ended(): Promise<void> {
    this.#begin = false;
    if (this.#inFlight > 0 && this.#letGoReason === null)
      await new Promise<void>((resolve) => (this.#noneInFlight = resolve));
  }

  /** Nobody waits any more for those under way, and none begins. */
  letGo(reason: string): void {
    this.#begin = false;
    if (this.#letGoReason !== null) return;
    this.#letGoReason = reason;
    for (const listener of this.onLetGo) listener();
    this.onLetGo.clear();
    this.#noneInFlight?.();
  }

  /** Why attempts under way should end; null while they need not. */
  get letGoReason(): Error | null {
    return this.#letGoReason === null ? null : new Error(this.#letGoReason);
  }
}
