import type { EpochNote, LocalEpoch } from "./data-folder.ts";
import type { ObjectStore } from "./object-store.ts";
import type { ParkedFile, TakenBack, WalHold } from "./parked-file.ts";

/**
 * What storage asks of this Machine's disk: a file for each epoch of a tenant, with a note beside it. A file has its name
 * only when it is whole, and then it has its note. What is written here survives the process, but not the power.
 */
export interface LocalFiles {
  /** Where the epoch's file stands or will stand: the name by which Litestream and the connection know it. */
  path(tenantId: string, epoch: number): string;
  /** The tenant's newest epoch that has a file and a note that can be read. */
  newest(tenantId: string): Promise<LocalEpoch | undefined>;
  /** Writes the epoch's note, at once or not at all; there may be no file yet. */
  writeNote(tenantId: string, epoch: number, note: EpochNote): Promise<void>;
  /** Removes all that there is of the epoch. */
  discard(tenantId: string, epoch: number): Promise<void>;
  /** Removes all that there is of the tenant's other epochs. */
  discardOthers(tenantId: string, keep: number): Promise<void>;
  /**
   * Makes one epoch's file and note those of another, in one step; what stood there is gone. What Litestream has noted
   * about the file goes before: stale, it makes a new prefix stick.
   */
  keep(tenantId: string, epochs: { readonly from: number; readonly to: number }): Promise<void>;
  /** A scratch name of the epoch's, to restore to. Nothing stands there. */
  scratch(tenantId: string, epoch: number): Promise<string>;
  /** The file, which nobody writes any more, as few bytes; null for one that is too large to be worth it. */
  pack(path: string): Promise<Uint8Array | null>;
  /** Writes a file that was packed to a scratch name. Rejects if it is none. */
  unpack(packed: Uint8Array, scratchPath: string): Promise<void>;
  /** Throws TenantUnavailableError if what was restored to a scratch name is damaged. */
  check(scratchPath: string): Promise<void>;
  /** Gives what stands at the epoch's scratch name the name of its file. */
  adopt(tenantId: string, epoch: number): Promise<void>;
  /**
   * What a file that nobody has open lacks of what was acknowledged on it, or null. `replica` names the store's folder of
   * its epoch, if anything was acknowledged there.
   */
  findLoss(path: string, store: ObjectStore, replica: string | null): Promise<string | null>;
  /** Bytes of the file and of its WAL; 0 for what is not there. */
  size(path: string): { readonly main: number; readonly wal: number };
  /** The last txid that Litestream has shipped of the file, as its notes beside it say; 0 without any. */
  shipped(path: string): Promise<number>;
  /** Notes how far the file has come; to be called at every passed round, before anything rests on it. */
  leaveWitness(path: string): void;
  /** Keeps what belongs to an open file in its place although all others close it, until it is released. */
  hold(path: string): WalHold;
  /** Puts a file aside that nobody has open, and that Litestream has let go of, so that it can go on where it ended. */
  setAside(path: string): Promise<ParkedFile>;
  /** Makes a file that was set aside ready to be opened, and keeps it so until it is open; or says why that cannot be. */
  takeBack(path: string, parked: ParkedFile): Promise<TakenBack>;
  /** Leaves a file that nobody uses any more, and that Litestream has let go of, whole in itself. */
  settle(path: string): void;
}
