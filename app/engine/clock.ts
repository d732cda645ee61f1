/** The engine's only source of time. Times are epoch milliseconds. */
export interface Clock {
  now(): number;
  /** Calls `fire` once, not before `at`; the returned function cancels it. */
  setTimer(at: number, fire: () => void): () => void;
}

/** Node's `setTimeout` overflows, and fires at once, beyond 2^31-1 ms. */
const maxTimeoutMs = 2 ** 31 - 1;

export const systemClock: Clock = {
  now: () => Date.now(),
  setTimer(at, fire) {
    let timer: NodeJS.Timeout;
    const arm = (): void => {
      const leftMs = Math.min(Math.max(0, at - Date.now()), maxTimeoutMs);
      // A timeout counts another clock's milliseconds, so by this one it may come a little early.
      timer = setTimeout(() => (Date.now() < at ? arm() : fire()), leftMs);
    };
    arm();
    return () => clearTimeout(timer);
  },
};
