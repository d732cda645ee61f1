import type { Codec } from "./codec.ts";
import { TenantUnavailableError } from "./errors.ts";
import { connectFile, snapshotOf, type OpenTenant, type StoragePorts } from "./open-tenant.ts";
import { OwnedRecord } from "./owned-record.ts";
import type { ParkedFile } from "./parked-file.ts";
import type { LineageEntry, TenantRecord } from "./records.ts";
import type { Snapshot } from "./snapshot.ts";

/**
 * A tenant that is still this host's, with nobody using it: all that must be known to go on in the same epoch, as small as
 * it can be, since there may be thousands.
 */
export interface ParkedTenant {
  readonly id: string;
  readonly epoch: number;
  /** `tenant.json` as this host wrote it last; text takes a tenth of the memory. */
  readonly record: string;
  readonly etag: string;
  readonly codec: Codec;
  readonly from: NonNullable<LineageEntry["from"]>;
  /** The txid of the last round; null if nothing was ever written in the epoch. */
  readonly txid: number | null;
  readonly file: ParkedFile;
}

/** What lies on the disk is not what was parked: the epoch must be given up. */
export class ParkedFileLostError extends Error {
  override readonly name = "ParkedFileLostError";
}

/**
 * Ends commits, makes everything durable and lets the file go, and keeps the claim. `beforeParking` runs when all is
 * durable. Nothing is acknowledged by `tenant` afterwards. Throws when it cannot be had: then `abandon`.
 */
export async function parkTenant(
  tenant: OpenTenant,
  { files, bootId }: Pick<StoragePorts, "files" | "bootId">,
  beforeParking: () => Promise<void>,
): Promise<ParkedTenant> {
  const { id, epoch, codec, rounds, record } = tenant;
  const hold = files.hold(tenant.path);
  let file: ParkedFile;
  try {
    await tenant.connection.close();
    if (!rounds.isCovered) await rounds.round();
    await beforeParking();
    await tenant.replica.unregister();
    rounds.close(new TenantUnavailableError(`Tenant "${id}" was parked just now.`, { retryAfterSeconds: 1 }));
    file = await files.setAside(tenant.path);
  } finally {
    hold.release();
  }
  const { from } = tenant.report;
  await files.writeNote(id, epoch, { bootId, from, released: null, parked: true });
  const { value, etag } = record.versioned;
  return { id, epoch, record: JSON.stringify(value), etag, codec, from, txid: rounds.lastTxid, file };
}

/**
 * Opens a parked tenant again, in the same epoch, on the same path and the same prefix. Nothing is asked of the store:
 * nobody can have taken the tenant without fencing this host, which the proof before the first answer shows. Throws
 * ParkedFileLostError, TenantUnavailableError.
 */
export async function unparkTenant(parked: ParkedTenant, ports: StoragePorts): Promise<OpenTenant> {
  const startedAt = ports.now();
  const { id, epoch, codec, from, txid } = parked;
  const path = ports.files.path(id, epoch);
  const taken = await ports.files.takeBack(path, parked.file);
  if (taken.kind === "lost") throw new ParkedFileLostError(taken.why);
  let opened: Awaited<ReturnType<typeof connectFile>>;
  try {
    // From here on it may hold what the store does not.
    await ports.files.writeNote(id, epoch, { bootId: ports.bootId, from, released: null });
    opened = await connectFile({ path, tenantId: id }, ports);
  } finally {
    taken.hold.release();
  }
  const report = { epoch, source: "parked", from, restoreMs: 0, openMs: ports.now() - startedAt } as const;
  const record = recordOf(parked, ports);
  const covered = opened.migrated ? -1 : opened.connection.commits;
  return opened.serve({ path, record, codec, report, followsRelease: true, covered, lastTxid: txid });
}

/** Gives a parked tenant away; its file stays as a warm copy. Throws when it is not known to have been given away. */
export async function releaseParked(parked: ParkedTenant, ports: StoragePorts): Promise<void> {
  const { id, epoch, from, txid } = parked;
  await recordOf(parked, ports).release(
    { closedAt: ports.now(), txid },
    await snapshotOfParked(parked, ports),
  );
  await ports.files.writeNote(id, epoch, { bootId: ports.bootId, from, released: { txid } });
}

/** Null if the file is not what was parked: the replica is. */
async function snapshotOfParked(parked: ParkedTenant, ports: StoragePorts): Promise<Snapshot | null> {
  const path = ports.files.path(parked.id, parked.epoch);
  if (parked.txid === null) return null;
  const taken = await ports.files.takeBack(path, parked.file);
  if (taken.kind === "lost") return null;
  ports.files.settle(path);
  taken.hold.release();
  return await snapshotOf({ ...parked, path }, parked.txid, ports);
}

function recordOf({ id, epoch, record, etag }: ParkedTenant, { store }: StoragePorts): OwnedRecord {
  const value = JSON.parse(record) as TenantRecord;
  return new OwnedRecord(store, { tenantId: id, epoch, record: { value, etag } });
}
