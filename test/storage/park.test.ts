import { readFile, rename, rm, stat, truncate, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { unreleasedTenants } from "../../app/storage/data-folder.ts";
import { superviseLitestream, type Litestream } from "../../app/storage/litestream.ts";
import { openTenant, type OpenTenant, type StoragePorts } from "../../app/storage/open-tenant.ts";
import {
  ParkedFileLostError,
  parkTenant,
  releaseParked,
  unparkTenant,
  type ParkedTenant,
} from "../../app/storage/park.ts";
import { isRunning, litestreamBinary, litestreamConfig, until } from "../support/litestream.ts";
import { crash, readFacts, TenantWorkspace, writeFact } from "../support/storage.ts";

let workspace: TenantWorkspace;
let tenants = 0;
/** Each test has a tenant and a host of its own. */
let id: string;
let ports: StoragePorts;

beforeAll(async () => {
  workspace = await TenantWorkspace.open();
});

afterAll(() => workspace.close());

beforeEach(async () => {
  id = `tenant-${(tenants += 1)}`;
  ports = await workspace.ports();
});

async function open(changes: Partial<StoragePorts> = {}): Promise<OpenTenant> {
  return workspace.keep(await openTenant(id, { ...ports, ...changes }));
}

async function unpark(parked: ParkedTenant): Promise<OpenTenant> {
  return workspace.keep(await unparkTenant(parked, ports));
}

async function write(tenant: OpenTenant, fact: string): Promise<void> {
  await writeFact(tenant, fact);
  await tenant.durable();
}

function park(tenant: OpenTenant): Promise<ParkedTenant> {
  return parkTenant(tenant, ports, async () => {});
}

/** What another life of the host finds when nothing is left of the tenant here. */
async function restored(): Promise<readonly string[]> {
  await rm(join(workspace.dataFolder, id), { recursive: true, force: true });
  const next = workspace.keep(await openTenant(id, await workspace.ports()));
  expect(next.report.source).toBe("replica");
  return await readFacts(next);
}

async function sizesInReplica(): Promise<readonly number[]> {
  const keys = await workspace.stores.inner.list(`tenants/${id}/e1/`);
  const objects = await Promise.all(keys.map((key) => workspace.stores.inner.get(key)));
  return objects.map((object) => object?.body.length ?? 0);
}

test("a parked tenant goes on in its epoch with a small delta, and all of it is in the store", async () => {
  const first = await open();
  const filler = Array.from({ length: 2_000 }, (_, row) => `filler ${row} ${Math.random()}`);
  await first.connection.write((on) => {
    for (const fact of filler) on.run("INSERT INTO meta (key, value) VALUES (?, '')", [fact]);
  });
  await write(first, "before");
  const parked = await park(first);
  const before = await sizesInReplica();
  const second = await unpark(parked);
  expect(second.epoch).toBe(1);
  await write(second, "after");
  const sizes = await sizesInReplica();
  expect(sizes.slice(before.length).reduce((sum, size) => sum + size, 0)).toBeLessThan(
    Math.max(...before) / 4,
  );
  expect(second.rounds.lastTxid).toBeGreaterThan(parked.txid ?? Infinity);
  await crash(second, "never acknowledged");
  expect(await restored()).toEqual(["after", "before"]);
});

test("parking and unparking ask nothing of the store but the wake, and a proof before the first answer", async () => {
  const first = await open();
  await write(first, "a");
  const calls = () =>
    (["get", "put", "list", "delete"] as const).map((what) => workspace.store.count(what, ""));
  const before = calls();
  const parked = await park(first);
  const second = await unpark(parked);
  expect(await readFacts(second)).toEqual(["a"]);
  expect(calls()).toEqual(before);
  await second.durable();
  expect(second.replica.wasRegistered).toBe(false);
  expect(calls()[0]).toBe((before[0] ?? 0) + 1);
});

test("parked again and again, through restarts of Litestream and compactions, nothing is lost", async () => {
  const own = await TenantWorkspace.open();
  try {
    const { litestream, restart } = await quicklyCompacting(own);
    const host = { ...(await own.ports()), litestream };
    let tenant = await openTenant("acme", host);
    const facts: string[] = [];
    for (let turn = 0; turn < 4; turn += 1) {
      for (let fact = 0; fact < 5; fact += 1) {
        facts.push(`${turn} ${fact}`);
        await write(tenant, `${turn} ${fact}`);
      }
      if (turn % 2 === 0) await sleep(2_500);
      const parked = await park(tenant);
      if (turn > 0) await restart();
      await sleep(1_500);
      tenant = await unparkTenant(parked, host);
    }
    await write(tenant, "last");
    await sleep(2_500);
    const levels = new Set((await own.stores.inner.list("tenants/acme/e1/")).map((key) => key.split("/")[4]));
    expect([...levels]).toContain("1");
    await tenant.abandon(new Error("the host has crashed"));
    await litestream.stop();
    await rm(join(own.dataFolder, "acme"), { recursive: true });
    const next = own.keep(await openTenant("acme", await own.ports()));
    expect([next.report.source, await readFacts(next)]).toEqual(["replica", [...facts, "last"].toSorted()]);
  } finally {
    await own.close();
  }
}, 60_000);

/** A Litestream that merges what it has shipped every second, not every 30. */
async function quicklyCompacting(own: TenantWorkspace): Promise<{
  readonly litestream: Litestream;
  readonly restart: () => Promise<void>;
}> {
  await own.litestream.stop();
  const configPath = join(own.litestreams.folder, "litestream.yml");
  const levels = "\nlevels:\n  - interval: 1s\n  - interval: 5m\n";
  await writeFile(configPath, (await readFile(litestreamConfig, "utf8")) + levels);
  const { dataFolder } = own;
  const { log } = own.litestreams;
  const litestream = await superviseLitestream({
    binary: litestreamBinary(),
    configPath,
    dataFolder,
    environment: process.env,
    log,
  });
  const restart = async (): Promise<void> => {
    const { pid } = await litestream.control.info();
    const { life } = litestream;
    process.kill(pid, "SIGKILL");
    await until("Litestream is dead", async () => !(await isRunning(pid)));
    await until("Litestream is back", () => litestream.life > life && litestream.state.kind === "up");
  };
  return { litestream, restart };
}

test("a parked tenant that was never written is parked and released without a trace", async () => {
  const parked = await park(await open());
  const again = await park(await unpark(parked));
  await releaseParked(again, ports);
  const record = await workspace.stores.tenantRecord(id);
  expect([record.host, record.epoch, record.lineage]).toEqual([null, 1, []]);
});

test("a parked tenant is released without being opened, and its file is used again as it is", async () => {
  const first = await open();
  await write(first, "a");
  const second = await unpark(await park(first));
  await write(second, "b");
  const parked = await park(second);
  await releaseParked(parked, ports);
  const { host, lineage } = await workspace.stores.tenantRecord(id);
  expect([host, lineage.at(-1)?.txid]).toEqual([null, parked.txid]);
  const next = await open();
  expect([next.epoch, next.report.source, next.rounds.isCovered]).toEqual([2, "local", true]);
  expect(await readFacts(next)).toEqual(["a", "b"]);
});

test("what a parked tenant's host had not given away when it was killed is there in its next life", async () => {
  const first = await open();
  await write(first, "a");
  await park(first);
  const next = workspace.keep(await openTenant(id, await workspace.ports()));
  expect([next.epoch, next.report.source, await readFacts(next)]).toEqual([2, "local", ["a"]]);
});

test("the next life of a killed host need not look after what was parked, and must after what was open again", async () => {
  const first = await open();
  await write(first, "a");
  const parked = await park(first);
  expect(await unreleasedTenants(workspace.dataFolder)).not.toContain(id);
  const second = await unpark(parked);
  expect(await unreleasedTenants(workspace.dataFolder)).toContain(id);
  await park(second);
  const losses: string[] = [];
  const onLocalLoss = (_: string, why: string): void => void losses.push(why);
  const next = workspace.keep(await openTenant(id, await workspace.ports({ onLocalLoss })));
  expect(losses).toEqual([]);
  expect([next.report.source, next.rounds.isCovered, next.replica.wasRegistered]).toEqual([
    "local",
    true,
    false,
  ]);
  await write(next, "b");
  expect(await restored()).toEqual(["a", "b"]);
});

test("a parked file is whole for whoever reads it from outside, and stays so when it is released", async () => {
  const first = await open();
  await write(first, "a");
  const parked = await park(first);
  const readFromOutside = (): unknown => {
    const database = new DatabaseSync(first.path, { readOnly: true });
    const row = database.prepare("SELECT count(*) AS facts FROM meta WHERE key LIKE 'fact %'").get();
    database.close();
    return row?.["facts"];
  };
  expect(readFromOutside()).toBe(1);
  await releaseParked(parked, ports);
  expect(readFromOutside()).toBe(1);
});

test.each<[string, (path: string) => Promise<void>]>([
  ["is gone", (path) => rm(path)],
  ["was cut", (path) => withoutWal(path).then(() => truncate(path, 512))],
  ["is another one", (path) => rename(join(dirname(path), "shipped.json"), path)],
  ["lost its WAL", withoutWal],
  ["was written by somebody", (path) => writeFile(`${path}-wal`, "something")],
  [
    "lost what Litestream knew",
    (path) => rm(join(dirname(path), ".tenant.db-litestream"), { recursive: true }),
  ],
])("a parked file that %s is not gone on with, and a new epoch has all of it", async (_, damage) => {
  const first = await open();
  await write(first, "a");
  const parked = await park(first);
  expect((await stat(join(dirname(first.path), "parked.wal"))).size).toBeGreaterThan(0);
  await damage(first.path);
  await expect(unparkTenant(parked, ports)).rejects.toThrow(ParkedFileLostError);
  const next = await open();
  expect([next.epoch, next.report.source, await readFacts(next)]).toEqual([2, "replica", ["a"]]);
});

/** Under both of its names. The first goes by itself when the last handle of the file is collected. */
async function withoutWal(path: string): Promise<void> {
  for (const name of [`${path}-wal`, join(dirname(path), "parked.wal")]) await rm(name, { force: true });
}
