import type { ObjectStore } from "../storage/object-store.ts";
import { readTenantRecord } from "../storage/records.ts";
import { dueWakes } from "../storage/wakes.ts";
import type { Clocks } from "./jump-guard.ts";

/** A look at the store that found something to stay for is not repeated sooner. */
const lookAgainMs = 30_000;
/** Wakes that have been due for longer were looked at, and failed: they keep no host awake. */
const overdueMs = 150_000;
/** So many wakes are asked whose they are; with more, there is work. */
const maxAsked = 20;

export interface IdleWatchOptions {
  readonly exitIdleMs: number;
  readonly hostId: string;
  readonly store: ObjectStore;
  readonly clocks: Clocks;
  /** When the next thing is to be done here, epoch milliseconds: 0 while something is, Infinity if nothing will be. */
  readonly nextDue: () => number;
  /** Told once, when there is nothing to stay for. */
  readonly onIdle: () => void;
}

/** Finds out when a host may end: nobody asks, nothing runs, and no wake is near that it would serve. */
export class IdleWatch {
  readonly #options: IdleWatchOptions;
  #requests = 0;
  /** By the monotonic clock. */
  #quietSince: number;
  #lookAgainAt = 0;
  #looking = false;
  #told = false;

  constructor(options: IdleWatchOptions) {
    this.#options = options;
    this.#quietSince = options.clocks.monotonic();
  }

  /** A request has come; the returned function says that it was answered. */
  request(): () => void {
    this.#requests += 1;
    return () => {
      this.#requests -= 1;
      this.#quietSince = this.#options.clocks.monotonic();
    };
  }

  /** To be called from time to time. */
  async look(): Promise<void> {
    if (this.#looking || this.#told || !this.#isQuiet()) return;
    const { exitIdleMs, clocks, nextDue, onIdle } = this.#options;
    const now = clocks.monotonic();
    if (now < this.#lookAgainAt) return;
    this.#looking = true;
    try {
      const isFree = async (): Promise<boolean> =>
        nextDue() > clocks.wall() + exitIdleMs && !(await this.#hasNearWake());
      if (!(await isFree())) this.#lookAgainAt = now + Math.min(lookAgainMs, exitIdleMs);
      else if (this.#isQuiet()) {
        this.#told = true;
        onIdle();
      }
    } finally {
      this.#looking = false;
    }
  }

  #isQuiet(): boolean {
    const quietMs = this.#options.clocks.monotonic() - this.#quietSince;
    return this.#requests === 0 && quietMs >= this.#options.exitIdleMs;
  }

  /** One that nobody else will serve. A store that does not answer tells nothing: then it is better to stay. */
  async #hasNearWake(): Promise<boolean> {
    const { store, clocks, exitIdleMs, hostId } = this.#options;
    const now = clocks.wall();
    try {
      const near = (await dueWakes(store, now + exitIdleMs)).filter(({ at }) => at > now - overdueMs);
      if (near.length > maxAsked) return true;
      for (const { tenantId } of near) {
        const holder = (await readTenantRecord(store, tenantId))?.value.host ?? null;
        if (holder === null || holder === hostId) return true;
      }
      return false;
    } catch {
      return true;
    }
  }
}
