import type { Claim } from "./claim.ts";
import type { ObjectStore } from "./object-store.ts";
import { freshNonce, putRecord, readTenantRecord, RecordChangedError, tenantKey } from "./records.ts";
import type { LineageEntry, TenantRecord, Versioned } from "./records.ts";
import type { Snapshot } from "./snapshot.ts";

/** The record of a tenant that this host owns, and the only way to change it: one write at a time, each on the last. */
export class OwnedRecord {
  readonly tenantId: string;
  readonly epoch: number;
  readonly #store: ObjectStore;
  #record: Versioned<TenantRecord>;
  #writing: Promise<unknown> = Promise.resolve();
  #prunedAt: number | null = null;
  #isOver = false;

  constructor(store: ObjectStore, claim: Pick<Claim, "tenantId" | "epoch" | "record">) {
    this.#store = store;
    this.tenantId = claim.tenantId;
    this.epoch = claim.epoch;
    this.#record = claim.record;
  }

  get value(): TenantRecord {
    return this.#record.value;
  }

  /** Whether the tenant was given away, or its epoch given up: then this record is not ours to change. */
  get isOver(): boolean {
    return this.#isOver;
  }

  /** To be called when the epoch is given up without a word to the store. */
  end(): void {
    this.#isOver = true;
  }

  get versioned(): Versioned<TenantRecord> {
    return this.#record;
  }

  /** Whether the store was told that this epoch's replica is the tenant's history. */
  get isMarked(): boolean {
    return this.value.lineage.some(({ epoch, from }) => epoch === this.epoch && from !== null);
  }

  /** When nothing was left to prune the last time; epoch milliseconds. */
  get prunedAt(): number {
    return this.#prunedAt ?? this.value.prunedAt ?? 0;
  }

  /** Written by the release: that is soon enough, and costs no write. */
  notePruned(at: number): void {
    this.#prunedAt = at;
  }

  /**
   * Tells the store that this epoch's replica is the tenant's history from now on, and with which key it is sealed.
   * Throws RecordChangedError when we lost the tenant.
   */
  mark(from: NonNullable<LineageEntry["from"]>, dataKey: string | null): Promise<void> {
    return this.#write((record) => ({ ...this.#withEntry(record, { from }), dataKey }));
  }

  /** Takes epochs out of the lineage, for good: only then may their objects go. Throws RecordChangedError when we lost the tenant. */
  forget(epochs: ReadonlySet<number>): Promise<void> {
    return this.#write((record) => ({
      ...record,
      lineage: record.lineage.filter(({ epoch }) => !epochs.has(epoch)),
    }));
  }

  /**
   * Gives the tenant away. Once this was called this host must not acknowledge in the epoch, whatever the answer is.
   * `txid` is that of the last round, null if nothing was ever written: then the epoch leaves no trace but its number,
   * or a tenant that is only read would grow its record for ever, and the snapshot of an earlier epoch stays named.
   */
  release(
    closing: { readonly closedAt: number; readonly txid: number | null },
    snapshot: Snapshot | null = null,
  ): Promise<void> {
    const released = this.#write((record) => {
      const closed = this.#withEntry(record, closing);
      const lineage = closed.lineage.filter(({ epoch, from }) => epoch !== this.epoch || from !== null);
      const pruned = this.#prunedAt === null ? {} : { prunedAt: this.#prunedAt };
      return { ...closed, lineage, host: null, ...pruned, ...(closing.txid === null ? {} : { snapshot }) };
    });
    this.#isOver = true;
    return released;
  }

  /**
   * Undoes the claim of a tenant that cannot be opened here, as if nobody had taken it from who had it before; the epoch's
   * number stays used. Nothing may have been written or shown in it. Another host may be able to open it.
   */
  giveBack(host: string | null): Promise<void> {
    const given = this.#write((record) => ({
      ...record,
      host,
      lineage: record.lineage.filter(({ epoch }) => epoch !== this.epoch),
    }));
    this.#isOver = true;
    return given;
  }

  /** Whether the store still holds what we wrote last. */
  async isCurrent(): Promise<boolean> {
    return (await readTenantRecord(this.#store, this.tenantId))?.value.nonce === this.#record.value.nonce;
  }

  #write(change: (record: TenantRecord) => TenantRecord): Promise<void> {
    if (this.#isOver)
      return Promise.reject(new RecordChangedError(`Tenant "${this.tenantId}" is not this host's any more.`));
    const write = this.#writing.then(async () => {
      const next = { ...change(this.#record.value), nonce: freshNonce() };
      this.#record = await putRecord(this.#store, tenantKey(this.tenantId), next, {
        ifMatch: this.#record.etag,
      });
    });
    this.#writing = write.catch(() => {});
    return write;
  }

  #withEntry(record: TenantRecord, change: Partial<LineageEntry>): TenantRecord {
    const lineage = record.lineage.map((entry) =>
      entry.epoch === this.epoch ? { ...entry, ...change } : entry,
    );
    return { ...record, lineage };
  }
}
