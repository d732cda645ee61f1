import { systemClock, type Clock } from "../engine/clock.ts";

/** A proof that failed is asked for again after this. */
const retryMs = 1_000;

interface Timer {
  readonly at: number;
  readonly due: () => void;
  cancel: () => void;
}

/** The engine's clock on a host whose clock may jump: timers fire when it has proved itself, and not late by the jump. */
export class GuardedClock implements Clock {
  readonly #check: () => Promise<void> | null;
  readonly #inner: Clock;
  readonly #timers = new Set<Timer>();

  /** `check` gives null, or what a timer that is due has to wait for. */
  constructor(check: () => Promise<void> | null, inner: Clock = systemClock) {
    this.#check = check;
    this.#inner = inner;
  }

  now(): number {
    return this.#inner.now();
  }

  setTimer(at: number, fire: () => void): () => void {
    const due = (): void => {
      const proof = this.#check();
      if (proof === null) {
        this.#timers.delete(timer);
        fire();
        return;
      }
      const again = (laterMs: number): void => {
        if (this.#timers.has(timer)) timer.cancel = this.#inner.setTimer(this.now() + laterMs, due);
      };
      proof.then(
        () => again(0),
        () => again(retryMs),
      );
    };
    const timer: Timer = { at, due, cancel: this.#inner.setTimer(at, due) };
    this.#timers.add(timer);
    return () => {
      this.#timers.delete(timer);
      timer.cancel();
    };
  }

  /** The time is another one now: what is due by it is due. */
  jumped(): void {
    for (const timer of this.#timers) {
      timer.cancel();
      timer.cancel = this.#inner.setTimer(timer.at, timer.due);
    }
  }
}
