import { rm } from "node:fs/promises";
import { join } from "node:path";
import { TenantUnavailableError, type RestorePoint, type StorageError } from "./errors.ts";
import { findRestorePoint, type RestorePointPorts } from "./restore-point.ts";
import { Turns } from "./turns.ts";

/** One search takes no longer; what it was at by then is left. */
const searchWithinMs = 10 * 60_000;
/** A search that found nothing, or whose answer was not asked for in so long, is made anew; one that failed, sooner. */
const forgetAfterMs = 10 * 60_000;
const againAfterMs = 60_000;
/** Beyond so many the oldest one that is over makes room; while all of them wait for their turn, no other is begun. */
const maxRemembered = 1_000;

export interface RestorePointsOptions extends Omit<RestorePointPorts, "scratchFolder" | "signal"> {
  readonly dataFolder: string;
  readonly log: {
    info(facts: Readonly<Record<string, unknown>>, message: string): void;
    warn(facts: Readonly<Record<string, unknown>>, message: string): void;
  };
  /** Epoch milliseconds. */
  readonly now: () => number;
}

interface Search {
  point: RestorePoint | null;
  /** Until then it is not made anew; infinite until it is over. */
  until: number;
}

/**
 * Tells of a tenant that is damaged up to where it could be restored. The search goes on in the background, once per
 * tenant and kind of damage, one at a time: its files are on this host's disk, and other tenants are served meanwhile.
 */
export class RestorePoints {
  readonly #options: RestorePointsOptions;
  readonly #searches = new Map<string, Search>();
  readonly #turns = new Turns(1);
  readonly #stopping = new AbortController();

  constructor(options: RestorePointsOptions) {
    this.#options = options;
    // What a search left that was killed, before another one begins.
    void this.#turns.take(() => rm(this.#scratchFolder, { recursive: true, force: true })).catch(() => {});
  }

  /** The error as clients are told it: with the restore point, as soon as that is known. Other errors stay as they are. */
  explain<E>(tenantId: string, error: E): E | StorageError {
    if (!(error instanceof TenantUnavailableError) || error.damage === null) return error;
    const point = this.#searchFor(tenantId, error.damage)?.point ?? null;
    return point === null ? error : error.withRestorePoint(point);
  }

  /** Begins no other restore. */
  stop(): void {
    this.#stopping.abort(new Error("this host is stopping"));
  }

  /** No tenant has a name like that. */
  get #scratchFolder(): string {
    return join(this.#options.dataFolder, ".restore-point");
  }

  #searchFor(tenantId: string, damage: string): Search | undefined {
    const key = `${tenantId} ${damage}`;
    const now = this.#options.now();
    const known = this.#searches.get(key);
    if (known !== undefined && now < known.until) {
      if (known.point !== null) known.until = now + forgetAfterMs;
      return known;
    }
    this.#searches.delete(key);
    if (!this.#hasRoom()) return undefined;
    const search: Search = { point: null, until: Number.POSITIVE_INFINITY };
    this.#searches.set(key, search);
    void this.#turns.take(() => this.#search(tenantId, search));
    return search;
  }

  #hasRoom(): boolean {
    const [oldest] = this.#searches;
    if (oldest === undefined || this.#searches.size < maxRemembered) return true;
    const [key, { until }] = oldest;
    return until !== Number.POSITIVE_INFINITY && this.#searches.delete(key);
  }

  async #search(tenantId: string, search: Search): Promise<void> {
    const { log, now, ...ports } = this.#options;
    if (this.#stopping.signal.aborted) return;
    const signal = AbortSignal.any([this.#stopping.signal, AbortSignal.timeout(searchWithinMs)]);
    const scratchFolder = this.#scratchFolder;
    try {
      search.point = await findRestorePoint(tenantId, { ...ports, scratchFolder, signal });
      search.until = now() + forgetAfterMs;
      log.info(
        { event: "tenant.restore-point", tenant: tenantId, restorePoint: search.point },
        search.point === null
          ? "a damaged tenant has no restore point"
          : "a damaged tenant has a restore point",
      );
    } catch (error) {
      search.until = now() + againAfterMs;
      log.warn({ err: error, tenant: tenantId }, "the search for a restore point failed");
    }
  }
}
