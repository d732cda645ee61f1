import type { HostClock } from "../../app/storage/host-clock.ts";
import { SetClock } from "./clock.ts";

/** A host's clocks that stand still until they are set. */
export class SetHostClock implements HostClock {
  readonly #monotonic = new SetClock(0);
  /** What the wall clock is ahead of the monotonic one. */
  wallOffsetMs = Date.UTC(2026, 0, 1);

  now(): number {
    return this.wallOffsetMs + this.#monotonic.now();
  }

  monotonicMs(): number {
    return this.#monotonic.now();
  }

  setTimer(afterMs: number, fire: () => void): () => void {
    return this.#monotonic.setTimer(this.#monotonic.now() + afterMs, fire);
  }

  /** Sets both clocks ahead; before and after each timer `settle` lets the code go on. */
  advance(ms: number, settle: () => Promise<void>): Promise<void> {
    return this.#monotonic.advance(ms, settle);
  }
}
