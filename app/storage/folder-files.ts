import { mkdir, rename, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { checkFile } from "./check-file.ts";
import {
  epochFile,
  epochFolder,
  newestLocalEpoch,
  removeLitestreamMetadata,
  removeOtherEpochs,
  writeNote,
  type EpochNote,
  type LocalEpoch,
} from "./data-folder.ts";
import type { LocalFiles } from "./local-files.ts";
import type { ObjectStore } from "./object-store.ts";
import { findLocalLoss, leaveWitness, settleFile, shippedLocally, sizeOfFile } from "./local-loss.ts";
import { packFile, unpackFile } from "./packed-file.ts";
import { holdWal, returnWal, setAside, takeBack, type WalHold } from "./parked-file.ts";

/** The files of tenants in a data folder: `<data>/<t>/e<epoch>/`. */
export class FolderFiles implements LocalFiles {
  readonly hold = holdWal;
  readonly setAside = setAside;
  readonly takeBack = takeBack;
  readonly size = sizeOfFile;
  readonly shipped = shippedLocally;
  readonly leaveWitness = leaveWitness;
  readonly settle = settleFile;
  readonly pack = packFile;
  readonly #dataFolder: string;

  constructor(dataFolder: string) {
    this.#dataFolder = dataFolder;
  }

  path(tenantId: string, epoch: number): string {
    return epochFile(this.#dataFolder, tenantId, epoch);
  }

  newest(tenantId: string): Promise<LocalEpoch | undefined> {
    return newestLocalEpoch(this.#dataFolder, tenantId);
  }

  writeNote(tenantId: string, epoch: number, note: EpochNote): Promise<void> {
    return writeNote(this.#dataFolder, tenantId, epoch, note);
  }

  async discard(tenantId: string, epoch: number): Promise<void> {
    await rm(this.#folder(tenantId, epoch), { recursive: true, force: true });
  }

  discardOthers(tenantId: string, keep: number): Promise<void> {
    return removeOtherEpochs(this.#dataFolder, tenantId, keep);
  }

  /** Database and WAL move in one rename, that of their folder. */
  async keep(tenantId: string, { from, to }: { readonly from: number; readonly to: number }): Promise<void> {
    await removeLitestreamMetadata(this.#dataFolder, tenantId, from);
    await this.discard(tenantId, to);
    await rename(this.#folder(tenantId, from), this.#folder(tenantId, to));
  }

  async scratch(tenantId: string, epoch: number): Promise<string> {
    const path = this.#scratchPath(tenantId, epoch);
    await mkdir(this.#folder(tenantId, epoch), { recursive: true });
    await rm(path, { force: true });
    return path;
  }

  async unpack(packed: Uint8Array, scratchPath: string): Promise<void> {
    await writeFile(scratchPath, await unpackFile(packed));
  }

  async check(scratchPath: string): Promise<void> {
    await checkFile(scratchPath, (await stat(scratchPath)).size, "node");
  }

  async adopt(tenantId: string, epoch: number): Promise<void> {
    const path = this.#scratchPath(tenantId, epoch);
    await rm(`${path}-wal`, { force: true });
    await rm(`${path}-shm`, { force: true });
    await rename(path, this.path(tenantId, epoch));
  }

  async findLoss(path: string, store: ObjectStore, replica: string | null): Promise<string | null> {
    let hold: WalHold;
    try {
      // The process that had set it aside may have been killed.
      hold = returnWal(path);
    } catch (error) {
      return `it cannot be opened: ${(error as Error).message}`;
    }
    try {
      return await findLocalLoss(path, store, replica);
    } finally {
      hold.release();
    }
  }

  #folder(tenantId: string, epoch: number): string {
    return epochFolder(this.#dataFolder, tenantId, epoch);
  }

  #scratchPath(tenantId: string, epoch: number): string {
    return join(this.#folder(tenantId, epoch), "restoring.db");
  }
}
