import { cp, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { TenantUnavailableError, type RestorePoint } from "../../app/storage/errors.ts";
import { ltxFiles } from "../../app/storage/ltx-files.ts";
import { connectTenant } from "../../app/storage/tenant-file.ts";
import type { WorkerHost } from "../../app/host/worker-host.ts";
import { acknowledge, HostWorkspace, hosted } from "../support/host.ts";
import { readFacts } from "../support/storage.ts";

const bound = { timeout: 25_000, interval: 100 };
const migrationsFolder = fileURLToPath(new URL("../../db/migrations", import.meta.url));

let workspace: HostWorkspace;

beforeEach(async () => {
  workspace = await HostWorkspace.open();
});

afterEach(() => workspace.close());

function store(path: string): string {
  return join(workspace.tenants.stores.folder, "store/tenants/acme", path);
}

/** Acknowledged facts, each a round of its own; then the host dies with its disk. */
async function crashAfter(...facts: readonly string[]): Promise<void> {
  const host = await workspace.host();
  for (const fact of facts) await acknowledge(host, "acme", fact);
  await workspace.kill(host);
  await workspace.wipe();
}

async function releaseAfter(...facts: readonly string[]): Promise<void> {
  const host = await workspace.host();
  for (const fact of facts) await acknowledge(host, "acme", fact);
  await host.drain();
  await workspace.wipe();
}

/** Files of the replica that hold the transaction, whichever level they are of by now. */
async function filesOf(epoch: number, txid: number): Promise<readonly string[]> {
  const files = ltxFiles(await workspace.tenants.stores.inner.list(`tenants/acme/e${epoch}/`));
  return files
    .filter(({ first, last }) => first <= txid && txid <= last)
    .map(({ key }) => join(workspace.tenants.stores.folder, "store", key));
}

async function flipByte(path: string): Promise<void> {
  const bytes = await readFile(path);
  bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 0x10;
  await writeFile(path, bytes);
}

/** What clients are told again and again until the restore point is known; another tenant is served all the while. */
async function restorePointOf(host: WorkerHost, reason: RegExp): Promise<RestorePoint | null> {
  let served = 0;
  const status = await vi.waitFor(async () => {
    const refusal = host.use("acme", async () => {});
    await expect(refusal).rejects.toThrow(TenantUnavailableError);
    await expect(refusal).rejects.toThrow(reason);
    await acknowledge(host, "healthy", `fact ${(served += 1)}`);
    const told = await host.status("acme");
    expect(told.restorePoint).not.toBe(null);
    return told;
  }, bound);
  const { epoch, txid, at } = status.restorePoint as RestorePoint;
  const sentence = `The newest verified restore point is epoch ${epoch}, txid ${txid}, of ${new Date(at).toISOString()}.`;
  expect(status).toMatchObject({ state: "unavailable", reason: expect.stringContaining(sentence) });
  await expect(host.use("acme", async () => {})).rejects.toThrow(sentence);
  return status.restorePoint;
}

function now(): unknown {
  const before = Date.now() - 10 * 60_000;
  return expect.toSatisfy((at: number) => at > before && at <= Date.now());
}

test("a file of the replica with a flipped bit: refused, and the state right before it is told as restore point", async () => {
  await crashAfter("a", "b", "c", "d");
  for (const path of await filesOf(1, 3)) await flipByte(path);
  const host = await workspace.host();
  expect(await restorePointOf(host, /could not be restored from epoch 1/)).toEqual({
    epoch: 1,
    txid: 2,
    at: now(),
  });
});

test("a file that is missing in the midst of the replica: refused, and the state right before it is told", async () => {
  await crashAfter("a", "b", "c", "d");
  for (const path of await filesOf(1, 3)) await rm(path);
  const host = await workspace.host();
  expect(await restorePointOf(host, /could not be restored from epoch 1/)).toMatchObject({
    epoch: 1,
    txid: 2,
  });
});

test("an epoch of which nothing is left: the one before it is told, by its snapshot, at the time when it was closed", async () => {
  await releaseAfter("a", "b");
  const { lineage } = await workspace.tenants.stores.tenantRecord("acme");
  await crashAfter("c");
  await rm(store("e2"), { recursive: true });
  // What is told is the snapshot's, whatever became of the replica beside it.
  await rm(store("e1"), { recursive: true });
  const host = await workspace.host();
  expect(await restorePointOf(host, /could not be restored from epoch 2/)).toEqual({
    epoch: 1,
    txid: lineage[0]?.txid,
    at: lineage[0]?.closedAt,
  });
});

test("a record that cannot be read: refused, and the newest epoch of the store is told", async () => {
  await releaseAfter("a");
  await crashAfter("b");
  await writeFile(store("tenant.json"), '{"nonce": "torn');
  const host = await workspace.host();
  expect(await restorePointOf(host, /tenant\.json" is not a record/)).toMatchObject({ epoch: 2 });
});

test("a migration that fails on a tenant: refused, its file before it is told, and the code of before opens it", async () => {
  await releaseAfter("of old");
  const migrations = join(workspace.tenants.stores.folder, "migrations");
  await cp(migrationsFolder, migrations, { recursive: true });
  const journalPath = join(migrations, "meta/_journal.json");
  const journal = JSON.parse(await readFile(journalPath, "utf8")) as {
    entries: { idx: number; when: number; tag: string }[];
  };
  const last = journal.entries.at(-1);
  journal.entries.push({
    ...last,
    idx: journal.entries.length,
    when: (last?.when ?? 0) + 1,
    tag: "bad",
  });
  await writeFile(journalPath, JSON.stringify(journal));
  await writeFile(join(migrations, "bad.sql"), "INSERT INTO meta (key, value) VALUES ('fact of old', '')");
  const host = await workspace.host({
    storage: { connect: (path, id, options) => connectTenant(path, id, options, migrations) },
  });
  expect(await restorePointOf(host, /cannot be used: UNIQUE constraint failed/)).toMatchObject({ epoch: 1 });
  await workspace.kill(host);
  const before = await workspace.host();
  expect(await before.use("acme", (tenant) => readFacts(hosted(tenant).file))).toEqual(["of old"]);
});

test("a damaged tenant of which nothing can be restored says what is wrong, and no restore point", async () => {
  await crashAfter("a");
  await rm(store("e1"), { recursive: true });
  const host = await workspace.host();
  const events = (): number => workspace.log.lines.filter(({ fields }) => "restorePoint" in fields).length;
  await vi.waitFor(async () => {
    await expect(host.use("acme", async () => {})).rejects.toThrow(/could not be restored/);
    expect(events()).toBe(1);
  }, bound);
  expect((await host.status("acme")).restorePoint).toBe(null);
  await expect(host.use("acme", async () => {})).rejects.toThrow(/could not be restored/);
  expect(events()).toBe(1);
});
