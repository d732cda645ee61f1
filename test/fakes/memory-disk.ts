import type { EpochNote } from "../../app/storage/data-folder.ts";

/** A database file: what was committed to it, in order. Its handles keep it, whatever becomes of its name. */
export interface MemoryDatabase {
  readonly writes: string[];
  /** So many of them are in the file itself; the others are in its WAL, which can go without leaving a damaged file. */
  checkpointed: number;
  damaged: boolean;
}

/** A transaction as Litestream ships it: what was written since the one before, or all that there is. */
export interface Ltx {
  readonly snapshot: boolean;
  readonly writes: readonly string[];
}

/** What Litestream keeps beside a file: the transactions that it has taken from it, and up to which write each reaches. */
export interface ShippingNotes {
  readonly taken: {
    readonly txid: number;
    readonly upTo: number;
    /** Null once it is in the store, where alone it is kept then. */
    ltx: Ltx | null;
  }[];
}

/** The folder of one epoch. */
export interface EpochFolder {
  note: EpochNote | null;
  file: MemoryDatabase | null;
  scratch: MemoryDatabase | null;
  /** How many writes the file had when a round passed. */
  witness: number | null;
  shipping: ShippingNotes | null;
}

/** A Machine's disk, as far as tenants' files go. */
export class MemoryDisk {
  readonly #tenants = new Map<string, Map<number, EpochFolder>>();

  epochs(tenantId: string): ReadonlyMap<number, EpochFolder> {
    return this.#tenants.get(tenantId) ?? new Map<number, EpochFolder>();
  }

  /** The epoch's folder; it is made if there is none. */
  folder(tenantId: string, epoch: number): EpochFolder {
    const epochs = this.#tenants.get(tenantId) ?? new Map<number, EpochFolder>();
    this.#tenants.set(tenantId, epochs);
    const folder = epochs.get(epoch) ?? {
      note: null,
      file: null,
      scratch: null,
      witness: null,
      shipping: null,
    };
    epochs.set(epoch, folder);
    return folder;
  }

  remove(tenantId: string, epoch: number): void {
    this.#tenants.get(tenantId)?.delete(epoch);
  }

  move(tenantId: string, from: number, to: number): void {
    const epochs = this.#tenants.get(tenantId);
    const folder = epochs?.get(from);
    if (epochs === undefined || folder === undefined)
      throw new Error(`There is no epoch ${from} of ${tenantId} here.`);
    epochs.delete(from);
    epochs.set(to, folder);
  }

  path(tenantId: string, epoch: number): string {
    return `${tenantId}/e${epoch}/tenant.db`;
  }

  /** The folder that the path of a file leads to, if it is there. */
  folderOf(path: string): EpochFolder | undefined {
    const [tenantId = "", epoch = ""] = path.split("/");
    return this.#tenants.get(tenantId)?.get(Number(epoch.slice(1)));
  }

  wipe(): void {
    this.#tenants.clear();
  }

  *all(): Iterable<EpochFolder> {
    for (const epochs of this.#tenants.values()) yield* epochs.values();
  }
}
