import type { Claim } from "./claim.ts";
import type { LocalEpoch } from "./data-folder.ts";
import { TenantUnavailableError } from "./errors.ts";
import { errorCode } from "./error-code.ts";
import type { LocalFiles } from "./local-files.ts";
import { StoreUnavailableError } from "./object-store.ts";
import { newestMarked, type LineageEntry, type TenantRecord } from "./records.ts";
import { currentSnapshot, type Snapshot } from "./snapshot.ts";

export interface PlacePorts {
  readonly files: LocalFiles;
  readonly bootId: string | null;
  /** Restores a replica into `outputPath`; gives the txid that it holds. */
  readonly restore: (source: {
    readonly path: string;
    readonly outputPath: string;
  }) => Promise<{ readonly txid: number }>;
  /** The packed file that a snapshot holds; rejects with what is wrong with it. */
  readonly openSnapshot: (snapshot: Snapshot) => Promise<Uint8Array>;
  /** Told why a snapshot is not used although the record names one: the replica is. */
  readonly onSnapshotLoss: (why: string) => void;
  /** What a local file lacks of what was acknowledged on it, or null; `marked`: something may have been, in its own epoch. */
  readonly findLoss: (local: {
    readonly path: string;
    readonly epoch: number;
    readonly marked: boolean;
  }) => Promise<string | null>;
  /** Told why a local file is not used although it could be. */
  readonly onLoss: (why: string) => void;
  /** Whether the tenant's record is still as we wrote it. */
  readonly stillOurs: () => Promise<boolean>;
}

/** Where the file of an epoch came from. */
export interface PlacedFile {
  readonly path: string;
  readonly from: { readonly epoch: number; readonly txid: number | null };
  readonly source: "new" | "snapshot" | "replica" | "local";
  /** Whether the store holds everything that the file holds. */
  readonly durable: boolean;
}

/** The store's folder for the replica of an epoch. */
export function replicaPath(tenantId: string, epoch: number): string {
  return `tenants/${tenantId}/e${epoch}`;
}

/**
 * Puts the tenant's file into the folder of the epoch that was claimed: this Machine's own, `local`, where that is safe, else
 * the snapshot of the newest marked epoch, else its replica, else nothing, for a tenant that never had anything. Throws
 * TenantUnavailableError: a marked epoch whose data is missing is never taken for an empty one.
 */
export async function placeFile(
  claim: Claim,
  local: LocalEpoch | undefined,
  ports: PlacePorts,
): Promise<PlacedFile> {
  const { tenantId, epoch } = claim;
  const { files, bootId } = ports;
  const path = files.path(tenantId, epoch);
  if (local !== undefined && isOurs(local, claim, bootId) && (await isWhole(local, claim, ports))) {
    const placed = await keepLocal(claim, local, ports);
    await files.discardOthers(tenantId, epoch);
    return { ...placed, path, source: "local" };
  }
  // What stands in the epoch's own folder came from another store, or from this one before it was set back.
  await files.discard(tenantId, epoch);
  const marked = claim.before && newestMarked(claim.before);
  const placed =
    marked === undefined ? await placeNothing(claim, ports) : await placeMarked(claim, marked, ports);
  // Only now: while nothing better stands in their place, they may be all that is left.
  await files.discardOthers(tenantId, epoch);
  return { ...placed, path, durable: true };
}

type Placed = Pick<PlacedFile, "from" | "source">;

async function placeNothing({ tenantId, epoch }: Claim, { files, bootId }: PlacePorts): Promise<Placed> {
  const from = { epoch: 0, txid: 0 };
  await files.writeNote(tenantId, epoch, { bootId, from, released: null });
  return { from, source: "new" };
}

async function placeMarked(claim: Claim, marked: LineageEntry, ports: PlacePorts): Promise<Placed> {
  if (await placeSnapshot(claim, ports))
    return { from: { epoch: marked.epoch, txid: marked.txid }, source: "snapshot" };
  const txid = await restoreFrom(claim, marked, ports);
  return { from: { epoch: marked.epoch, txid }, source: "replica" };
}

/** The file was written in this life of the kernel, and nobody has acknowledged anything on another one since. */
function isOurs(local: LocalEpoch, { before, record }: Claim, bootId: string | null): boolean {
  if (before === undefined || bootId === null || local.note.bootId !== bootId) return false;
  if (local.note.released !== null) return isNewest(local, local.note.released, before);
  const { machine } = record.value.lineage.at(-1) ?? {};
  const own = before.lineage.find(({ epoch }) => epoch === local.epoch);
  if (own === undefined || own.machine !== machine) return false;
  const later = before.lineage.filter(({ epoch }) => epoch > local.epoch);
  return later.every((entry) => entry.machine === machine && entry.from === null);
}

/** A cache may vanish in part: what it lacks is told, and the replica is used. */
async function isWhole(local: LocalEpoch, { tenantId, before }: Claim, ports: PlacePorts): Promise<boolean> {
  const path = ports.files.path(tenantId, local.epoch);
  const loss = await ports.findLoss({ path, epoch: local.epoch, marked: isMarked(before, local.epoch) });
  if (loss !== null) ports.onLoss(loss);
  return loss === null;
}

function isMarked(record: TenantRecord | undefined, epoch: number): boolean {
  return record?.lineage.find((entry) => entry.epoch === epoch)?.from != null;
}

/** A file that was released holds what the store holds, as long as no later epoch was marked. */
function isNewest(
  local: LocalEpoch,
  released: { readonly txid: number | null },
  before: TenantRecord,
): boolean {
  const newest = newestMarked(before);
  if (newest?.epoch === local.epoch) return newest.txid === released.txid;
  return (newest?.epoch ?? 0) === local.note.from.epoch && released.txid === null;
}

/** Before the file moves its note says that it may be written again. */
async function keepLocal(
  { tenantId, epoch, before }: Claim,
  local: LocalEpoch,
  { files, bootId }: PlacePorts,
): Promise<Pick<PlacedFile, "from" | "durable">> {
  const marked = isMarked(before, local.epoch);
  const { released } = local.note;
  // A note that names its own epoch was written by a keeping that was cut off before the rename.
  const wasCutOff = local.note.from.epoch === local.epoch;
  const from = marked && !wasCutOff ? { epoch: local.epoch, txid: released?.txid ?? null } : local.note.from;
  await files.writeNote(tenantId, local.epoch, { bootId, from, released: null });
  await files.keep(tenantId, { from: local.epoch, to: epoch });
  return { from, durable: released !== null || local.note.parked === true };
}

/**
 * Whether the file could be made from the snapshot that the record named when we claimed. It needs no second look at the
 * record: the record that our claim has replaced says what it must be, to the byte, whoever has pruned or claimed since.
 */
async function placeSnapshot({ tenantId, epoch, before }: Claim, ports: PlacePorts): Promise<boolean> {
  const snapshot = before === undefined ? undefined : currentSnapshot(before);
  if (snapshot === undefined) return false;
  const { files, bootId } = ports;
  try {
    if (typeof snapshot === "string") throw new Error(snapshot);
    const packed = await ports.openSnapshot(snapshot);
    const scratch = await files.scratch(tenantId, epoch);
    await files.unpack(packed, scratch);
    await files.check(scratch);
    const from = { epoch: snapshot.epoch, txid: snapshot.txid };
    await files.writeNote(tenantId, epoch, { bootId, from, released: null });
    await files.adopt(tenantId, epoch);
    return true;
  } catch (error) {
    await files.discard(tenantId, epoch);
    ports.onSnapshotLoss((error as Error).message);
    return false;
  }
}

/** Restores to a scratch name, checks, and only then gives the file its name. */
async function restoreFrom(
  { tenantId, epoch }: Claim,
  source: LineageEntry,
  ports: PlacePorts,
): Promise<number> {
  try {
    return await restoreInto({ tenantId, source, epoch }, ports);
  } catch (error) {
    // Tried again and again, it would fill the disk: every try is another epoch.
    await ports.files.discard(tenantId, epoch);
    if (error instanceof TenantUnavailableError) throw error;
    throw new TenantUnavailableError(
      `Tenant "${tenantId}" could not be restored from epoch ${source.epoch}: ${(error as Error).message}`,
      { cause: error, retryAfterSeconds: 15, ...(isPassing(error) ? {} : { damage: "replica" }) },
    );
  }
}

/** Whether the failure tells nothing of the replica, but of this Machine, or of the way to the store. */
function isPassing(error: unknown): boolean {
  if (errorCode(error) !== undefined || error instanceof StoreUnavailableError) return true;
  return error instanceof Error && "isPassing" in error && error.isPassing === true;
}

async function restoreInto(
  {
    tenantId,
    source,
    epoch,
  }: {
    readonly tenantId: string;
    readonly source: LineageEntry;
    readonly epoch: number;
  },
  ports: PlacePorts,
): Promise<number> {
  const { files, bootId } = ports;
  const scratch = await files.scratch(tenantId, epoch);
  const { txid } = await ports.restore({ path: replicaPath(tenantId, source.epoch), outputPath: scratch });
  if (source.txid !== null && txid < source.txid)
    throw new TenantUnavailableError(
      `The replica of tenant "${tenantId}", epoch ${source.epoch}, ends at txid ${txid}; its record says ${source.txid}. Something was deleted from the store.`,
      { retryAfterSeconds: 60, damage: "replica" },
    );
  await files.check(scratch);
  if (!(await ports.stillOurs()))
    throw new TenantUnavailableError(
      `Tenant "${tenantId}" was claimed by another host while it was restored.`,
      {
        retryAfterSeconds: 1,
      },
    );
  const from = { epoch: source.epoch, txid };
  await files.writeNote(tenantId, epoch, { bootId, from, released: null });
  await files.adopt(tenantId, epoch);
  return txid;
}
