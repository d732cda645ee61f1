import type { HostClock } from "../../app/storage/host-clock.ts";
import type { Actor, Schedule } from "./schedule.ts";

/** A host's clocks: faster or slower than the schedule's, and they jump. */
export class DriftingClock implements HostClock {
  readonly #schedule: Schedule;
  readonly #actor: Actor;
  readonly #rate: number;
  readonly #startedAt: number;
  #aheadMs = 0;
  #wallAheadMs: number;

  constructor(
    schedule: Schedule,
    actor: Actor,
    { rate, wallAheadMs }: { readonly rate: number; readonly wallAheadMs: number },
  ) {
    this.#schedule = schedule;
    this.#actor = actor;
    this.#rate = rate;
    this.#startedAt = schedule.now;
    this.#wallAheadMs = wallAheadMs;
  }

  now(): number {
    return this.monotonicMs() + this.#wallAheadMs;
  }

  monotonicMs(): number {
    return (this.#schedule.now - this.#startedAt) * this.#rate + this.#aheadMs;
  }

  setTimer(afterMs: number, fire: () => void): () => void {
    const at = this.monotonicMs() + afterMs;
    let cancelled = false;
    this.#schedule.add({
      actor: this.#actor,
      what: "timer",
      ready: () => cancelled || this.monotonicMs() >= at,
      run: () => {
        if (!cancelled) fire();
      },
    });
    return () => void (cancelled = true);
  }

  wait(ms: number): Promise<void> {
    return new Promise((resolve) => void this.setTimer(ms, resolve));
  }

  /** As after a suspend: the monotonic clock may have stood still, the wall clock goes anywhere. */
  jump({ monotonicMs, wallMs }: { readonly monotonicMs: number; readonly wallMs: number }): void {
    this.#aheadMs += monotonicMs;
    this.#wallAheadMs += wallMs;
  }
}
