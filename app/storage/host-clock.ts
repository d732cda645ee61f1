/** A host's sources of time. No clock decides whether something is safe, only when it is worth trying. */
export interface HostClock {
  /** The wall clock, epoch milliseconds: for what people and other hosts read. It may jump, and may be wrong. */
  now(): number;
  /** Milliseconds of a clock that never goes back, from any start: for how long something took. It may stand still in a suspend. */
  monotonicMs(): number;
  /** Calls `fire` once after so many milliseconds; the returned function cancels it. It keeps no process alive. */
  setTimer(afterMs: number, fire: () => void): () => void;
}

export const systemHostClock: HostClock = {
  now: () => Date.now(),
  monotonicMs: () => performance.now(),
  setTimer(afterMs, fire) {
    const timer = setTimeout(fire, afterMs);
    timer.unref();
    return () => clearTimeout(timer);
  },
};
