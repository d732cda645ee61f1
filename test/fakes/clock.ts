import type { Clock } from "../../app/engine/clock.ts";

interface Timer {
  readonly at: number;
  readonly fire: () => void;
}

/** A clock that stands still until it is set. Its timers fire in the order of their times, then of their making. */
export class SetClock implements Clock {
  readonly #timers = new Set<Timer>();
  #now: number;

  constructor(now: number = Date.UTC(2026, 0, 1)) {
    this.#now = now;
  }

  now(): number {
    return this.#now;
  }

  /** As with any clock, a timer that is due already fires later, not within this call. */
  setTimer(at: number, fire: () => void): () => void {
    const timer = { at, fire };
    this.#timers.add(timer);
    if (!(at > this.#now)) setImmediate(() => this.#fire(timer));
    return () => void this.#timers.delete(timer);
  }

  /** Timers that are set. */
  get pending(): number {
    return this.#timers.size;
  }

  /** When the next timer is due; null if none is set. */
  get nextAt(): number | null {
    return this.#timers.size === 0 ? null : Math.min(...[...this.#timers].map(({ at }) => at));
  }

  /**
   * Sets the clock `ms` ahead. Timers of the same moment fire together; before and after each moment `settle` lets the
   * code go on.
   */
  async advance(ms: number, settle: () => Promise<void>): Promise<void> {
    const target = this.#now + ms;
    await settle();
    for (let next = this.nextAt; next !== null && next <= target; next = this.nextAt) {
      this.#now = Math.max(this.#now, next);
      const due = [...this.#timers].filter(({ at }) => at <= this.#now).toSorted((a, b) => a.at - b.at);
      for (const timer of due) this.#fire(timer);
      await settle();
    }
    this.#now = target;
    await settle();
  }

  /** Sets the clock without firing anything in between: what is due then fires on the next `advance`. */
  jump(ms: number): void {
    this.#now += ms;
  }

  /** Waits on this clock. */
  wait(ms: number): Promise<void> {
    return new Promise((resolve) => this.setTimer(this.#now + ms, resolve));
  }

  #fire(timer: Timer): void {
    if (this.#timers.delete(timer)) timer.fire();
  }
}

/** A view of a clock that ends: what was set through it never fires afterwards, as after the death of a process. */
export class MortalClock implements Clock {
  readonly #clock: Clock;
  readonly #cancels = new Set<() => void>();
  #ended = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  now(): number {
    return this.#clock.now();
  }

  setTimer(at: number, fire: () => void): () => void {
    if (this.#ended) return () => {};
    const cancel = this.#clock.setTimer(at, () => {
      this.#cancels.delete(cancel);
      fire();
    });
    this.#cancels.add(cancel);
    return () => {
      this.#cancels.delete(cancel);
      cancel();
    };
  }

  /** Timers that were set through this view. */
  get pending(): number {
    return this.#cancels.size;
  }

  end(): void {
    this.#ended = true;
    for (const cancel of this.#cancels) cancel();
  }
}
