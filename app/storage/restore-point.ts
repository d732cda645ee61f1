import { mkdir, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { checkFile } from "./check-file.ts";
import { clearCodec } from "./codec.ts";
import type { RestorePoint } from "./errors.ts";
import { ltxFiles, ltxTimestamp, reachableTxids, type LtxFile } from "./ltx-files.ts";
import type { ObjectStore } from "./object-store.ts";
import { unpackFile } from "./packed-file.ts";
import { replicaPath } from "./place-file.ts";
import {
  readTenantRecord,
  tenantKey,
  UnreadableRecordError,
  type LineageEntry,
  type TenantRecord,
} from "./records.ts";
import { fetchSnapshot, openSnapshot, parseSnapshot } from "./snapshot.ts";
import { tenantCodec, type MasterKeys } from "./tenant-key.ts";

export interface RestorePointPorts {
  readonly store: ObjectStore;
  readonly masterKeys: MasterKeys;
  /** A folder for restored files, which nobody else uses; removed at the end. */
  readonly scratchFolder: string;
  readonly restore: (source: {
    readonly replicaUrl: string;
    readonly outputPath: string;
    readonly txid?: number;
  }) => Promise<{ readonly txid: number }>;
  /** Ends the search before its next attempt. */
  readonly signal: AbortSignal;
}

/** Restores that one search may try. */
const maxAttempts = 24;

/** An epoch that may hold a restore point; `entry` is missing where the record cannot be read. */
interface Candidate {
  readonly epoch: number;
  readonly entry?: LineageEntry;
}

/**
 * The newest state of a tenant that can be restored whole, for one that cannot be opened; null if there is none. It is only
 * told, never used: which acknowledged writes to give up is not for a machine to decide. Marked epochs are tried newest
 * first, each by its snapshot, then by its replica as far as that goes. Where the record cannot be read all epochs that
 * the store has are: an epoch begins only after everything acknowledged in the ones before it was there.
 */
export async function findRestorePoint(
  tenantId: string,
  ports: RestorePointPorts,
): Promise<RestorePoint | null> {
  const search = new RestorePointSearch(tenantId, ports);
  try {
    await mkdir(ports.scratchFolder, { recursive: true });
    return await search.run();
  } finally {
    await rm(ports.scratchFolder, { recursive: true, force: true });
  }
}

class RestorePointSearch {
  readonly #tenantId: string;
  readonly #ports: RestorePointPorts;
  #attempts = 0;

  constructor(tenantId: string, ports: RestorePointPorts) {
    this.#tenantId = tenantId;
    this.#ports = ports;
  }

  async run(): Promise<RestorePoint | null> {
    const record = await readIfReadable(this.#ports.store, this.#tenantId);
    const point = record === undefined ? null : await this.#bySnapshot(record);
    for (const candidate of await this.#candidates(record)) {
      if (point !== null && point.epoch >= candidate.epoch) return point;
      const found = await this.#byReplica(candidate);
      if (found !== null) return found;
    }
    return point;
  }

  async #candidates(record: TenantRecord | undefined): Promise<readonly Candidate[]> {
    if (record !== undefined) {
      const marked = record.lineage.filter(({ from }) => from !== null);
      return marked.toReversed().map((entry) => ({ epoch: entry.epoch, entry }));
    }
    const keys = await this.#ports.store.list(`tenants/${this.#tenantId}/e`);
    const epochs = keys.flatMap((key) => Number(/^tenants\/[^/]+\/e(\d+)\//.exec(key)?.[1] ?? Number.NaN));
    return [...new Set(epochs.filter(Number.isFinite))].toSorted((a, b) => b - a).map((epoch) => ({ epoch }));
  }

  /** By the snapshot that the record names, of whichever marked epoch that is. */
  async #bySnapshot(record: TenantRecord): Promise<RestorePoint | null> {
    const { store, masterKeys } = this.#ports;
    const snapshot = parseSnapshot(record.snapshot);
    const entry = record.lineage.find(({ epoch, from }) => epoch === snapshot?.epoch && from !== null);
    if (snapshot === null || entry === undefined || entry.closedAt === null || entry.txid !== snapshot.txid)
      return null;
    const path = this.#scratchPath();
    try {
      const sealedWith = snapshot.keyId;
      const codec =
        sealedWith === null
          ? clearCodec
          : await tenantCodec(store, this.#tenantId, { masterKeys, sealedWith });
      const body = await fetchSnapshot(store, snapshot);
      await writeFile(path, await unpackFile(openSnapshot(this.#tenantId, snapshot, { body, codec })));
      await checkFile(path, (await stat(path)).size, "node");
      return { epoch: snapshot.epoch, txid: snapshot.txid, at: entry.closedAt };
    } catch {
      // What is wrong with it shows in the log of the opening that failed.
      return null;
    } finally {
      await rm(path, { force: true });
    }
  }

  async #byReplica({ epoch, entry }: Candidate): Promise<RestorePoint | null> {
    const path = replicaPath(this.#tenantId, epoch);
    const files = ltxFiles(await this.#ports.store.list(`${path}/`));
    const txids = reachableTxids(files);
    const best = await this.#newestRestorable(path, txids);
    if (best === null) return null;
    const closedAt = entry !== undefined && entry.txid === best ? entry.closedAt : null;
    return { epoch, txid: best, at: closedAt ?? (await this.#timeOf(files, best)) ?? entry?.openedAt ?? 0 };
  }

  /**
   * A damaged file spoils all txids from its own on, so that halving finds the last one before it. (A snapshot of
   * Litestream's behind the damage would make later ones good again; then this finds one that is good, and older.)
   */
  async #newestRestorable(path: string, txids: readonly number[]): Promise<number | null> {
    let [good, bad] = [-1, txids.length];
    for (let next = txids.length - 1; next > good; next = (good + bad) >> 1) {
      if (await this.#canRestore(path, txids[next] ?? 0)) good = next;
      else bad = next;
      if (good + 1 >= bad) break;
    }
    return txids[good] ?? null;
  }

  async #canRestore(path: string, txid: number): Promise<boolean> {
    const { store, restore, signal } = this.#ports;
    signal.throwIfAborted();
    if (this.#attempts >= maxAttempts) return false;
    this.#attempts += 1;
    const outputPath = this.#scratchPath();
    try {
      const restored = await restore({ replicaUrl: store.replicaUrl(path), outputPath, txid });
      await checkFile(outputPath, (await stat(outputPath)).size, "node");
      return restored.txid === txid;
    } catch {
      // Throws if the store cannot be asked: that says nothing of the replica, and the search is made anew later.
      await store.get(tenantKey(this.#tenantId));
      return false;
    } finally {
      for (const end of ["", "-wal", "-shm"]) await rm(`${outputPath}${end}`, { force: true });
    }
  }

  async #timeOf(files: readonly LtxFile[], txid: number): Promise<number | null> {
    const [smallest] = files.filter(({ last }) => last === txid).toSorted((a, b) => a.level - b.level);
    const object = smallest === undefined ? undefined : await this.#ports.store.get(smallest.key);
    return object === undefined ? null : ltxTimestamp(object.body);
  }

  #scratchPath(): string {
    return join(this.#ports.scratchFolder, "restored.db");
  }
}

async function readIfReadable(store: ObjectStore, tenantId: string): Promise<TenantRecord | undefined> {
  try {
    return (await readTenantRecord(store, tenantId))?.value;
  } catch (error) {
    if (error instanceof UnreadableRecordError) return undefined;
    throw error;
  }
}
