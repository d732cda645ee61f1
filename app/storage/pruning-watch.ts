import type { ObjectStore } from "./object-store.ts";
import type { OwnedRecord } from "./owned-record.ts";
import { pruneTenant } from "./pruning.ts";

const dayMs = 24 * 60 * 60_000;
/** What failed, or was more than one pass may delete, is taken up again after so long. */
const againAfterMs = 60_000;

export interface PruningOptions {
  readonly store: ObjectStore;
  readonly historyMs: number;
  /** Of the tenants that this host has. */
  readonly records: () => readonly OwnedRecord[];
  readonly log: {
    info(facts: Readonly<Record<string, unknown>>, message: string): void;
    warn(facts: Readonly<Record<string, unknown>>, message: string): void;
  };
  /** Epoch milliseconds. */
  readonly now: () => number;
}

/**
 * Prunes the tenants of this host, one after the other: each once its epoch is marked, and then once a day. Its record
 * remembers when it was done last, in the write of its release, so that the next epoch does not list all of it again.
 */
export class PruningWatch {
  readonly #options: PruningOptions;
  /** Tenants that are to be left alone until then. */
  readonly #notBefore = new WeakMap<OwnedRecord, number>();
  #looking: Promise<void> | null = null;

  constructor(options: PruningOptions) {
    this.#options = options;
  }

  /** To be called every few seconds; a look that is under way is not joined by another. Never rejects. */
  look(): Promise<void> {
    this.#looking ??= this.#lookOnce().finally(() => (this.#looking = null));
    return this.#looking;
  }

  async #lookOnce(): Promise<void> {
    for (const record of this.#options.records()) if (this.#isDue(record)) await this.#prune(record);
  }

  #isDue(record: OwnedRecord): boolean {
    const now = this.#options.now();
    if (record.isOver || !record.isMarked || now < (this.#notBefore.get(record) ?? 0)) return false;
    return now - record.prunedAt >= dayMs;
  }

  async #prune(record: OwnedRecord): Promise<void> {
    const { store, historyMs, log, now } = this.#options;
    const startedAt = now();
    this.#notBefore.set(record, startedAt + againAfterMs);
    try {
      const pruned = await pruneTenant(record, { store, historyMs, now: startedAt });
      if (pruned.isDone) record.notePruned(startedAt);
      if (pruned.epochs + pruned.objects > 0)
        log.info({ event: "tenant.pruned", tenant: record.tenantId, ...pruned }, "old epochs pruned");
    } catch (error) {
      log.warn({ err: error, tenant: record.tenantId }, "a tenant's old epochs could not be pruned yet");
    }
  }
}
