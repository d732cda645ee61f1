import type { EngineLog } from "../engine/log.ts";
import type { ObjectStore } from "../storage/object-store.ts";
import { listPostponed, wakesToServe } from "../storage/postponed.ts";
import { dueWakes } from "../storage/wakes.ts";
import type { WakeAnswer } from "./wake-call.ts";

export interface WakerOptions {
  readonly store: ObjectStore;
  readonly log: EngineLog;
  /** Has the app look at the wakes that are due; starts a Machine where none runs. */
  readonly call: (signal: AbortSignal) => Promise<WakeAnswer>;
  readonly everyMs: number;
  readonly now: () => number;
  /** Ends early, without an error, when the signal comes. */
  readonly sleep: (ms: number, signal: AbortSignal) => Promise<void>;
}

/** After a look that failed the next one comes sooner. */
const againAfterMs = 5_000;

/**
 * Calls the app when work of some tenant is due in the store, so that sleeps, timeouts and retries come to pass although every
 * Machine has stopped and no client calls. It changes nothing itself: whoever it wakes claims what is due.
 */
export class Waker {
  readonly #options: WakerOptions;

  constructor(options: WakerOptions) {
    this.#options = options;
  }

  /** One look after the other until the signal comes. Never rejects. */
  async run(signal: AbortSignal): Promise<void> {
    const { everyMs, sleep } = this.#options;
    while (!signal.aborted) {
      const isDone = await this.look(signal);
      await sleep(isDone ? everyMs : Math.min(againAfterMs, everyMs), signal);
    }
  }

  /** Whether nothing was due, or the app was called for it. What went wrong is logged. */
  async look(signal: AbortSignal): Promise<boolean> {
    const { store, log, call, now } = this.#options;
    try {
      const wakes = await dueWakes(store, now());
      if (wakes.length === 0) return true;
      // Where it is not known what is postponed, nothing is.
      const postponed = await listPostponed(store).catch(() => []);
      const found = wakesToServe(wakes, postponed, { now: now() }).length;
      if (found === 0) return true;
      const answer = await call(signal);
      const facts = { event: "woken", found, ...answer };
      if (answer.served < answer.due) log.warn(facts, "the app could not serve all that is due");
      else log.info(facts, "the app was called for what is due");
      // The app tries again what it could not serve, and is called again while that is due.
      return true;
    } catch (error) {
      if (!signal.aborted) log.error({ event: "wake.failed", err: error }, "what is due could not be woken");
      return false;
    }
  }
}
