import type { Connection } from "../../db/connect.ts";
import { schemaVersion } from "../../db/migrate.ts";
import { claimTenant, type Claimer, type FarFromHome } from "./claim.ts";
import type { Codec } from "./codec.ts";
import { ColdReads } from "./cold-reads.ts";
import { mayHoldMore, type LocalEpoch } from "./data-folder.ts";
import { ElsewhereError, TenantUnavailableError } from "./errors.ts";
import { gather } from "./gather.ts";
import type { OwnHostRecord } from "./host-record.ts";
import type { Litestream } from "./litestream.ts";
import type { LocalFiles } from "./local-files.ts";
import type { ObjectStore } from "./object-store.ts";
import type { Peers } from "./peers.ts";
import { OwnedRecord } from "./owned-record.ts";
import { placeFile, replicaPath, type PlacedFile } from "./place-file.ts";
import { Replica } from "./replica.ts";
import { Rounds } from "./rounds.ts";
import type { TenantFile } from "./tenant-file.ts";
import { leaveSnapshot, type Snapshot } from "./snapshot.ts";
import type { MasterKeys } from "./tenant-key.ts";

export interface StoragePorts {
  readonly store: ObjectStore;
  readonly litestream: Litestream;
  readonly hostRecord: OwnHostRecord;
  readonly peers: Peers;
  readonly files: LocalFiles;
  /** Where notes that are no tenant's file lie. */
  readonly dataFolder: string;
  readonly bootId: string | null;
  /** Opens a file, making it if there is none, as `connectTenant` does. */
  readonly connect: (
    path: string,
    tenantId: string,
    options: { readonly onCommit: () => void },
  ) => Promise<TenantFile>;
  readonly masterKeys: MasterKeys;
  readonly restore: (source: {
    readonly replicaUrl: string;
    readonly outputPath: string;
    /** By default the newest. */
    readonly txid?: number;
  }) => Promise<{ readonly txid: number }>;
  /** Told when this Machine's own file lacks something, and the replica is used instead. */
  readonly onLocalLoss: (tenantId: string, why: string) => void;
  /** Told when a snapshot could not be left or not be used; nothing is lost by that, but time. */
  readonly onSnapshotLoss: (tenantId: string, why: string) => void;
  readonly now: () => number;
}

/** How an opening went, for the log. Times are milliseconds. */
export interface OpeningReport {
  readonly epoch: number;
  readonly source: PlacedFile["source"] | "parked";
  readonly from: PlacedFile["from"];
  readonly restoreMs: number;
  readonly openMs: number;
}

/** A tenant's file, claimed and open on this host for one epoch. */
export interface OpenTenant {
  readonly id: string;
  readonly epoch: number;
  readonly path: string;
  readonly region: string;
  readonly connection: Connection;
  readonly codec: Codec;
  readonly rounds: Rounds;
  readonly replica: Replica;
  readonly record: OwnedRecord;
  readonly report: OpeningReport;
  /** Whether whoever had the tenant last gave it away properly, or nobody had it: else its host may have crashed. */
  readonly followsRelease: boolean;
  /** Resolves once everything committed before the call is durable. */
  durable(): Promise<void>;
  /** Called at every commit, beside the gate's own book-keeping. */
  onCommit: () => void;
  /**
   * Ends commits, makes everything durable and gives the tenant away; the file stays as a warm copy. `beforeGiving` runs
   * when all is durable and the record still says that the tenant is ours. Throws when a round cannot pass: then `abandon`.
   */
  release(beforeGiving: () => Promise<void>): Promise<void>;
  /** Stops at once and keeps the claim and the file: the next opening goes on from them in a new epoch. */
  abandon(why: Error): Promise<void>;
}

/**
 * Claims the tenant, puts its file in place and opens it. Nothing is written to the replica: that begins with the first
 * write. The caller must have no open epoch of the tenant. Throws ElsewhereError, TenantUnavailableError.
 */
export async function openTenant(
  tenantId: string,
  ports: StoragePorts,
  farFromHome: FarFromHome = "unless-served",
): Promise<OpenTenant> {
  const startedAt = ports.now();
  const { store, hostRecord, peers } = ports;
  const { id: hostId, machine, region } = hostRecord.identity;
  const claimer: Claimer = { hostId, machine, region, peers, farFromHome };
  const local = await ports.files.newest(tenantId);
  const localEpoch = local?.epoch ?? null;
  const reads = new ColdReads(tenantId, { store, masterKeys: ports.masterKeys });
  const claim = await claimTenant(store, tenantId, claimer, {
    now: startedAt,
    schema: schemaVersion(),
    localEpoch,
    onClaiming: (before) => reads.begin(before, { localEpoch }),
  }).catch(async (error: unknown) => {
    await forsake(tenantId, local, error, ports);
    throw error;
  });
  const record = new OwnedRecord(store, claim);
  const codecComing = reads.codec(claim.before);
  const claimedAt = ports.now();
  const placed = await placeFile(claim, local, {
    files: ports.files,
    bootId: ports.bootId,
    restore: ({ path, outputPath }) => ports.restore({ replicaUrl: store.replicaUrl(path), outputPath }),
    openSnapshot: (snapshot) => reads.openSnapshot(snapshot, codecComing),
    onSnapshotLoss: (why) => ports.onSnapshotLoss(tenantId, `it is not used: ${why}`),
    findLoss: ({ path, epoch, marked }) =>
      ports.files.findLoss(path, store, marked ? replicaPath(tenantId, epoch) : null),
    onLoss: (why) => ports.onLocalLoss(tenantId, why),
    stillOurs: () => record.isCurrent(),
  }).catch(async (error: unknown) => {
    // What this Machine has of its own may be more than the store has: then the tenant is best opened here again.
    if (local === undefined || !mayHoldMore(local.note))
      await record.giveBack(claim.before?.host ?? null).catch(() => {});
    throw error;
  });
  const restoreMs = ports.now() - claimedAt;
  const codec = await codecComing;
  const followsRelease = (claim.before?.host ?? null) === null;
  return await openFile({ tenantId, placed, record, codec, restoreMs, startedAt, followsRelease }, ports);
}

/**
 * What was not shipped of this Machine's own file is no part of the tenant's history once another Machine has the tenant: the
 * file is marked as never to be used again, so that it may be deleted. A file that was released may be used after all.
 */
async function forsake(
  tenantId: string,
  local: LocalEpoch | undefined,
  error: unknown,
  { files, hostRecord }: StoragePorts,
): Promise<void> {
  if (!(error instanceof ElsewhereError) || error.why !== "holder" || local === undefined) return;
  if (error.holder?.machine === hostRecord.identity.machine || local.note.released !== null) return;
  if (local.note.bootId !== null)
    await files.writeNote(tenantId, local.epoch, { ...local.note, bootId: null }).catch(() => {});
}

async function openFile(
  opening: {
    readonly tenantId: string;
    readonly placed: PlacedFile;
    readonly record: OwnedRecord;
    readonly codec: Codec;
    readonly restoreMs: number;
    readonly startedAt: number;
    readonly followsRelease: boolean;
  },
  ports: StoragePorts,
): Promise<OpenTenant> {
  const { tenantId, placed, record, codec, restoreMs, followsRelease } = opening;
  const { path, source, from } = placed;
  const opened = await connectFile({ path, tenantId }, ports);
  const openMs = ports.now() - opening.startedAt;
  const report = { epoch: record.epoch, source, from, restoreMs, openMs };
  const covered = coveredAtFirst(placed, opened.migrated, opened.connection);
  return opened.serve({ path, record, codec, report, followsRelease, covered, lastTxid: null });
}

/** A file in its place, and what is known of it. */
export interface ServedFile extends Pick<
  OpenTenant,
  "path" | "record" | "codec" | "report" | "followsRelease"
> {
  /** Commits of the connection that the store is known to hold; -1: not even what the file held at first. */
  readonly covered: number;
  /** The txid of the last round of this epoch, if it had any. */
  readonly lastTxid: number | null;
}

/** Connects to a file; from `serve` on there is a gate before it. Throws TenantUnavailableError. */
export async function connectFile(
  { path, tenantId }: { readonly path: string; readonly tenantId: string },
  ports: StoragePorts,
): Promise<TenantFile & { serve(file: ServedFile): OpenTenant }> {
  const onCommit = { call: (): void => {} };
  const opened = await ports.connect(path, tenantId, { onCommit: () => onCommit.call() });
  return { ...opened, serve: (file) => serveFile(file, { connection: opened.connection, onCommit }, ports) };
}

function serveFile(
  file: ServedFile,
  { connection, onCommit }: { readonly connection: Connection; readonly onCommit: { call: () => void } },
  ports: StoragePorts,
): OpenTenant {
  const { path, record, codec, report, followsRelease, covered, lastTxid } = file;
  const { tenantId } = record;
  const replicaUrl = ports.store.replicaUrl(replicaPath(tenantId, record.epoch));
  const shipped = (): Promise<number> => ports.files.shipped(path);
  const size = (): { readonly main: number; readonly wal: number } => ports.files.size(path);
  const replica = new Replica(ports.litestream, { path, replicaUrl, shipped, size }, lastTxid ?? 0);
  const rounds = new Rounds(
    {
      commits: () => connection.commits,
      sync: () => replica.sync(),
      proof: () => ports.hostRecord.proof(),
      mark: async () => {
        if (!record.isMarked) await record.mark(report.from, codec.keyId);
      },
      passed: () => ports.files.leaveWitness(path),
      gather,
      now: ports.now,
    },
    { covered, lastTxid },
  );
  const tenant: OpenTenant = {
    id: tenantId,
    epoch: record.epoch,
    path,
    region: record.value.region,
    connection,
    codec,
    rounds,
    replica,
    record,
    report,
    followsRelease,
    onCommit: () => {},
    async durable() {
      await connection.idle();
      await rounds.pass();
    },
    release: (beforeGiving) => release(tenant, ports, beforeGiving),
    abandon: (why) => abandon(tenant, ports.files, why),
  };
  onCommit.call = () => {
    rounds.committed();
    tenant.onCommit();
  };
  return tenant;
}

/** A new file holds nothing that could be lost; what was restored is in the store; the rest waits for its first round. */
function coveredAtFirst(placed: PlacedFile, migrated: boolean, connection: Connection): number {
  const durable = placed.source === "new" || (placed.durable && !migrated);
  return durable ? connection.commits : -1;
}

async function release(
  tenant: OpenTenant,
  ports: StoragePorts,
  beforeGiving: () => Promise<void>,
): Promise<void> {
  const { connection, rounds, replica, record } = tenant;
  // Commits end before the last round: one that came after it would count as durable where the file is used again.
  await connection.close();
  if (replica.wasRegistered || !rounds.isCovered) await rounds.round();
  const txid = rounds.lastTxid;
  await beforeGiving();
  await replica.unregister();
  ports.files.settle(tenant.path);
  rounds.close(new TenantUnavailableError(`Tenant "${tenant.id}" was let go.`, { retryAfterSeconds: 1 }));
  await record.release({ closedAt: ports.now(), txid }, await snapshotOf(tenant, txid, ports));
  const note = { bootId: ports.bootId, from: tenant.report.from, released: { txid } };
  await ports.files.writeNote(tenant.id, tenant.epoch, note);
}

/** For the next claim, which then needs no restore; null if there is none, which costs it time and nothing else. */
export async function snapshotOf(
  { id: tenantId, epoch, path, codec }: Pick<OpenTenant, "id" | "epoch" | "path" | "codec">,
  txid: number | null,
  { store, files, onSnapshotLoss }: StoragePorts,
): Promise<Snapshot | null> {
  if (txid === null) return null;
  try {
    return await leaveSnapshot(store, { tenantId, epoch, txid, path, codec, files });
  } catch (error) {
    onSnapshotLoss(tenantId, `it could not be left: ${(error as Error).message}`);
    return null;
  }
}

async function abandon(
  { connection, path, rounds, replica, record }: OpenTenant,
  files: LocalFiles,
  why: Error,
): Promise<void> {
  rounds.close(why);
  record.end();
  await connection.close();
  await replica.unregister();
  files.settle(path);
}
