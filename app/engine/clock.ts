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
      const leftMs = at - Date.now();
      timer = leftMs > maxTimeoutMs ? setTimeout(arm, maxTimeoutMs) : setTimeout(fire, Math.max(0, leftMs));
    };
    arm();
    return () => clearTimeout(timer);
  },
};
