import { randomBytes } from "node:crypto";
import { mkdtemp, readdir, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { FolderFiles } from "../../app/storage/folder-files.ts";
import { systemHostClock } from "../../app/storage/host-clock.ts";
import { openHostStorage, type HostStorage } from "../../app/storage/host-storage.ts";
import { restoreReplica } from "../../app/storage/litestream-restore.ts";
import { superviseLitestream } from "../../app/storage/litestream.ts";
import { openTenant, type StoragePorts } from "../../app/storage/open-tenant.ts";
import { Peers } from "../../app/storage/peers.ts";
import { pruneTenant } from "../../app/storage/pruning.ts";
import { connectTenant } from "../../app/storage/tenant-file.ts";
import type { Figure } from "./figure.ts";

const dayMs = 24 * 60 * 60_000;
const tenantId = "moving";
const quiet = { info: () => {}, warn: () => {}, error: () => {}, fatal: () => {} };

/** What a tenant takes in the store that is claimed, written to and given away several times a day; the clock is set, not waited for. */
export async function weekOfClaims({
  days,
  claimsPerDay,
}: {
  readonly days: number;
  readonly claimsPerDay: number;
}): Promise<Figure> {
  const folder = await mkdtemp(join(tmpdir(), "holdfast-bench-week-"));
  const storage = await openHostStorage({
    config: {
      store: { url: `file:${join(folder, "store")}`, settings: { baseDir: folder } },
      dataFolder: join(folder, "data"),
      litestream: process.env["HOLDFAST_LITESTREAM"] ?? null,
      machine: "bench",
      advertise: "http://127.0.0.1:1",
      region: "local",
      hostTtlMs: 15_000,
    },
    environment: process.env,
    supervise: superviseLitestream,
    log: quiet,
  });
  let now = Date.now();
  const ports = portsOf(storage, join(folder, "data"), () => now);
  const spanMs = dayMs / claimsPerDay;
  let fileBytes = 0;
  try {
    for (let day = 0; day < days; day += 1)
      for (let claim = 0; claim < claimsPerDay; claim += 1, now += spanMs)
        fileBytes = await claimAndWrite(ports, claim === 0);
    const bytes = await bytesBelow(join(folder, "store/tenants", tenantId));
    const claims = days * claimsPerDay;
    return {
      what: `stored after ${claimsPerDay} claims a day for ${days} days, each with a write`,
      value: bytes / 1e6,
      unit: "MB",
      floor: { what: "the tenant's file", value: fileBytes / 1e6 },
      note: `${Math.round(bytes / claims / 1_000)} KB a claim: each ships the file once, and the newest is kept as a snapshot; an epoch goes 7 days after its end`,
    };
  } finally {
    await storage.giveUp();
    await rm(folder, { recursive: true, force: true });
  }
}

/** Gives the size of the tenant's file. */
async function claimAndWrite(ports: StoragePorts, prune: boolean): Promise<number> {
  const tenant = await openTenant(tenantId, ports);
  const fact = randomBytes(200).toString("base64");
  await tenant.connection.write((on) =>
    on.run("INSERT INTO meta (key, value) VALUES (?, '')", [`fact ${fact}`]),
  );
  await tenant.durable();
  if (prune) await pruneTenant(tenant.record, { store: ports.store, now: ports.now(), historyMs: 7 * dayMs });
  const { size } = await stat(tenant.path);
  await tenant.release(async () => {});
  return size;
}

function portsOf(
  { store, litestream, hostRecord, bootId, binary }: HostStorage,
  dataFolder: string,
  now: () => number,
): StoragePorts {
  return {
    store,
    litestream,
    hostRecord,
    bootId,
    dataFolder,
    now,
    peers: new Peers(store, hostRecord.identity.id, systemHostClock),
    files: new FolderFiles(dataFolder),
    connect: connectTenant,
    masterKeys: [{ id: "bench", key: randomBytes(32) }],
    restore: (source) =>
      restoreReplica({ ...source, binary, environment: process.env, log: quiet, timeoutMs: 60_000 }),
    onLocalLoss: () => {},
    onSnapshotLoss: () => {},
  };
}

async function bytesBelow(folder: string): Promise<number> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile());
  const sizes = await Promise.all(
    files.map(async ({ parentPath, name }) => (await stat(join(parentPath, name))).size),
  );
  return sizes.reduce((sum, size) => sum + size, 0);
}
