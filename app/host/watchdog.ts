import * as inspector from "node:inspector";
import { getCompileCacheDir } from "node:module";
import { dirname } from "node:path";
import { Worker } from "node:worker_threads";
import type { Guard } from "../engine/guard.ts";
import type { EngineLog } from "../engine/log.ts";
import type { StoreSettings } from "../storage/open-store.ts";
import { beatEveryMs, LoopGuard, LoopState, runningNow, runningNowKey } from "./loop-state.ts";
import type { LoopHolder } from "./loop-state.ts";

/** An event loop that stands still for so long has ended, with all the runs on it. */
export const standstillLimitMs = 10_000;
/** The note, in the store and on the disk, and the last line are made within this. */
const reportWithinMs = 5_000;

export interface WatchdogOptions {
  readonly limitMs: number;
  readonly dataFolder: string;
  /** The thread opens the store by itself: the main one's requests stand still with it. */
  readonly store: { readonly url: string; readonly settings: StoreSettings };
  readonly log: EngineLog;
}

/** What the thread is given; the store's credentials among it. */
export interface WatchdogData extends Omit<WatchdogOptions, "log"> {
  readonly memory: SharedArrayBuffer;
}

/** Sent to the thread when an exception was caught by nobody. */
export interface UncaughtMessage {
  readonly holder: LoopHolder | null;
  readonly error: { readonly type: string; readonly message: string; readonly stack: string };
}

/**
 * A thread that ends the process when an agent does not let go of the event loop, so that the other runs go on in the next
 * life, and leaves a note of whose fault it was.
 */
export class Watchdog {
  readonly #state = new LoopState();
  readonly #guard = new LoopGuard(this.#state);
  readonly #thread: Worker;
  readonly #beating: NodeJS.Timeout;
  #stopped = false;

  constructor({ log, ...options }: WatchdogOptions) {
    Object.assign(globalThis, { [Symbol.for(runningNowKey)]: () => JSON.stringify(runningNow()) });
    const workerData: WatchdogData = { ...options, memory: this.#state.memory };
    this.#thread = new Worker(new URL("./watchdog-thread.ts", import.meta.url), {
      workerData,
      env: threadEnvironment(),
    });
    this.#thread.unref();
    this.#thread.on("error", (error) => log.error({ err: error }, "the watchdog broke: nobody watches"));
    this.#thread.on("exit", () => clearInterval(this.#beating));
    // A breakpoint that a person looks at is no standstill.
    this.#beating = setInterval(() => this.#state.beat(inspector.url() !== undefined), beatEveryMs);
    this.#beating.unref();
  }

  guard(tenantId: string): Guard {
    return this.#guard.of(tenantId);
  }

  /**
   * An exception came to the event loop: leaves word of the run that it came from. No code runs on this thread meanwhile,
   * and the caller must end the process then.
   */
  reportUncaught(thrown: unknown): void {
    if (this.#stopped) return;
    const error = thrown instanceof Error ? thrown : new Error(String(thrown));
    const message: UncaughtMessage = {
      holder: runningNow(),
      error: { type: error.name, message: error.message, stack: error.stack ?? "" },
    };
    this.#thread.postMessage(message);
    this.#state.awaitReported(reportWithinMs);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    clearInterval(this.#beating);
    await this.#thread.terminate();
  }
}

/** Nothing in it reads the environment, which has more secrets than it needs; but Node looks there for compiled modules. */
function threadEnvironment(): Readonly<Record<string, string>> {
  const ofThisNode = getCompileCacheDir();
  return ofThisNode === undefined ? {} : { NODE_COMPILE_CACHE: dirname(ofThisNode) };
}
