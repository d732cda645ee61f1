import type { EngineLog } from "../engine/log.ts";
import type { ObjectStore } from "../storage/object-store.ts";
import { dueWakes, type Wake } from "../storage/wakes.ts";

/** Wakes are looked at so often, as other hosts may have left some; one that failed is looked at again sooner. */
const scanEveryMs = 60_000;
const rescanAfterFailureMs = 5_000;
/** So many tenants are opened at a time. */
const openAtOnce = 4;

export interface WakeWatchOptions {
  readonly store: ObjectStore;
  readonly log: EngineLog;
  /** Opens the wake's tenant unless it is open; rejects if it cannot be opened now. */
  readonly wake: (wake: Wake) => Promise<void>;
}

/**
 * Looks for tenants with unfinished work that is due, at the start and then once a minute, so that runs go on although
 * their host died and nobody calls.
 */
export class WakeWatch {
  readonly #options: WakeWatchOptions;
  #timer: NodeJS.Timeout | null = null;
  #scanning: Promise<void> = Promise.resolve();
  /** By the wake's key: a tenant may have several, and each is served at its time. */
  readonly #timers = new Map<string, NodeJS.Timeout>();
  #again = false;
  #stopped = false;

  constructor(options: WakeWatchOptions) {
    this.#options = options;
  }

  start(): void {
    this.#scanning = this.#scan();
  }

  /** Looks at the store once more, at once; after the look that is under way, which may have come too early. */
  scanSoon(): void {
    if (this.#stopped) return;
    if (this.#timer === null) {
      this.#again = true;
      return;
    }
    clearTimeout(this.#timer);
    this.#timer = null;
    this.start();
  }

  /** Wakes the tenant at `at`, if that is before the next look at the store would find it. */
  expect(wake: Wake): void {
    const inMs = wake.at - Date.now();
    if (this.#stopped || inMs > 2 * scanEveryMs) return;
    clearTimeout(this.#timers.get(wake.key));
    const timer = setTimeout(
      () => {
        this.#timers.delete(wake.key);
        void this.#serve(wake);
      },
      Math.max(0, inMs),
    );
    this.#timers.set(wake.key, timer);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    for (const timer of this.#timers.values()) clearTimeout(timer);
    if (this.#timer !== null) clearTimeout(this.#timer);
    await this.#scanning;
  }

  async #scan(): Promise<void> {
    const failures = await this.#wakeAllDue().catch((error: unknown) => {
      this.#options.log.warn({ err: error }, "the wakes in the store could not be listed");
      return 1;
    });
    if (this.#stopped) return;
    const inMs = this.#again ? 0 : failures > 0 ? rescanAfterFailureMs : scanEveryMs;
    this.#again = false;
    this.#timer = setTimeout(() => {
      this.#timer = null;
      this.start();
    }, inMs);
  }

  /** Gives the number of wakes that could not be served. What is due before the next scan is served in its minute. */
  async #wakeAllDue(): Promise<number> {
    const now = Date.now();
    const wakes = await dueWakes(this.#options.store, now + scanEveryMs);
    for (const wake of wakes) if (wake.at > now) this.expect(wake);
    const due = wakes.filter(({ at }) => at <= now);
    let failures = 0;
    const serveSome = async (): Promise<void> => {
      for (let wake = due.shift(); wake !== undefined && !this.#stopped; wake = due.shift())
        if (!(await this.#serve(wake))) failures += 1;
    };
    await Promise.all(Array.from({ length: openAtOnce }, serveSome));
    return failures;
  }

  async #serve(wake: Wake): Promise<boolean> {
    try {
      await this.#options.wake(wake);
      return true;
    } catch (error) {
      this.#options.log.warn(
        { err: error, tenant: wake.tenantId },
        "a tenant that is due could not be opened",
      );
      return false;
    }
  }
}
