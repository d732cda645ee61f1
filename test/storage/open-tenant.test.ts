import { readdir, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { epochFolder } from "../../app/storage/data-folder.ts";
import { TenantUnavailableError } from "../../app/storage/errors.ts";
import { openTenant, type OpenTenant, type StoragePorts } from "../../app/storage/open-tenant.ts";
import { crash, readFacts, TenantWorkspace, writeFact } from "../support/storage.ts";

let workspace: TenantWorkspace;
let tenants = 0;
/** Each test has a tenant of its own. */
let id: string;

beforeAll(async () => {
  workspace = await TenantWorkspace.open();
});

afterAll(() => workspace.close());

beforeEach(() => {
  id = `tenant-${(tenants += 1)}`;
});

/** By a new life of this Machine's host, unless the ports say otherwise. */
async function open(changes: Partial<StoragePorts> = {}): Promise<OpenTenant> {
  return workspace.keep(await openTenant(id, await workspace.ports(changes)));
}

async function write(tenant: OpenTenant, fact: string): Promise<void> {
  await writeFact(tenant, fact);
  await tenant.durable();
}

async function releaseNow(tenant: OpenTenant): Promise<void> {
  await tenant.release(async () => {});
}

async function replicaFiles(epoch: number): Promise<readonly string[]> {
  return await workspace.stores.inner.list(`tenants/${id}/e${epoch}/`);
}

async function marks(): Promise<readonly unknown[]> {
  const { lineage } = await workspace.stores.tenantRecord(id);
  return lineage.map(({ epoch, from }) => [epoch, from?.epoch ?? null]);
}

/** As after a wiped disk: nothing of the tenant is left on this Machine. */
async function wipe(): Promise<void> {
  await rm(join(workspace.dataFolder, id), { recursive: true, force: true });
}

test("an opening writes nothing: no replica, no mark, until the first write", async () => {
  const tenant = await open();
  await tenant.durable();
  expect(tenant.rounds.isCovered).toBe(true);
  expect([await replicaFiles(1), await marks(), tenant.replica.wasRegistered]).toEqual([
    [],
    [[1, null]],
    false,
  ]);
  await write(tenant, "a");
  expect(await marks()).toEqual([[1, 0]]);
  expect(await replicaFiles(1)).not.toEqual([]);
});

test("the epoch is marked before the first write is acknowledged, and not while that is not known", async () => {
  const tenant = await open();
  await writeFact(tenant, "a");
  const mark = workspace.store.hold("put", `tenants/${id}/`);
  let acknowledged = false;
  const durable = tenant.durable().then(() => (acknowledged = true));
  await mark.arrived;
  expect([acknowledged, await marks()]).toEqual([false, [[1, null]]]);
  mark.letThrough();
  await durable;
  expect(await marks()).toEqual([[1, 0]]);
  const other = await (async () => {
    id = `${id}-b`;
    return await open();
  })();
  await writeFact(other, "a");
  workspace.store.fail("put", `tenants/${id}/`, "lost");
  await expect(other.durable()).rejects.toThrow("not known");
  await other.durable();
  expect(await marks()).toEqual([[1, 0]]);
});

test("what was acknowledged is there after the host was killed and the disk wiped", async () => {
  const first = await open();
  await write(first, "a");
  await write(first, "b");
  await crash(first);
  await wipe();
  const second = await open();
  expect([second.epoch, second.report.source, second.report.from]).toMatchObject([
    2,
    "replica",
    { epoch: 1 },
  ]);
  expect(await readFacts(second)).toEqual(["a", "b"]);
  expect(second.rounds.isCovered).toBe(true);
  expect(await marks()).toEqual([
    [1, 0],
    [2, null],
  ]);
});

test("after a crash the earlier life is fenced, and nothing of it passes any more", async () => {
  const hostRecord = await workspace.stores.host();
  const earlier = await open({ hostRecord });
  await write(earlier, "a");
  await writeFact(earlier, "too late");
  // As if the earlier life were paused rather than dead: it still has its file and its Litestream.
  const later = await open({ dataFolder: join(workspace.dataFolder, "of-the-later-life") });
  expect(await workspace.stores.hostState(hostRecord.identity.id)).toBe("fenced");
  await expect(earlier.durable()).rejects.toThrow(/fenced/);
  await expect(earlier.rounds.round()).rejects.toThrow(/fenced/);
  expect(later.epoch).toBe(2);
  // Its Litestream may have shipped what nobody was told of, by itself, before the fence.
  expect([["a"], ["a", "too late"]]).toContainEqual(await readFacts(later));
  await later.durable();
});

test("after a crash on this Machine the tail that was not shipped is there, and waits for its first round", async () => {
  const first = await open();
  await write(first, "a");
  await crash(first, "tail");
  const second = await open();
  expect([second.report.source, second.epoch]).toEqual(["local", 2]);
  expect(await readFacts(second)).toEqual(["a", "tail"]);
  expect(second.rounds.isCovered).toBe(false);
  const before = await workspace.stores.tenantRecord(id);
  expect(before.lineage.at(-1)?.from).toBe(null);
  await second.durable();
  expect(second.rounds.isCovered).toBe(true);
  await crash(second);
  await wipe();
  expect(await readFacts(await open())).toEqual(["a", "tail"]);
});

test("the tail of a tenant that never shipped anything survives a crash too", async () => {
  const first = await open();
  await crash(first, "tail");
  const second = await open();
  expect([second.report.source, second.rounds.isCovered]).toEqual(["local", false]);
  await second.durable();
  await crash(second);
  await wipe();
  expect(await readFacts(await open())).toEqual(["tail"]);
});

test("a tail survives openings that fail, however many", async () => {
  const first = await open();
  await write(first, "a");
  await crash(first, "tail");
  const masterKeys = [{ id: "k", key: new Uint8Array(32) }];
  for (let tries = 0; tries < 4; tries += 1) {
    workspace.store.fail("get", `keys/${id}`, "lost");
    await expect(open({ masterKeys })).rejects.toThrow("not known");
  }
  const opened = await open();
  expect(await readFacts(opened)).toEqual(["a", "tail"]);
  expect(opened.rounds.isCovered).toBe(false);
  const { lineage, epoch } = await workspace.stores.tenantRecord(id);
  expect([epoch, lineage.length]).toEqual([6, 3]);
});

test("a kept file is in a folder of its own epoch, and nothing is left of the old path", async () => {
  const first = await open();
  await write(first, "a");
  await crash(first);
  const second = await open();
  expect(dirname(second.path)).toBe(epochFolder(workspace.dataFolder, id, 2));
  expect(await readdir(dirname(dirname(second.path)))).toEqual(["e2"]);
  expect((await readdir(dirname(second.path))).filter((name) => name.includes("litestream"))).toEqual([]);
});

test("after another life of the kernel the replica is used, and its tail is gone, which nobody was told of", async () => {
  const first = await open();
  await write(first, "a");
  await crash(first, "tail");
  const second = await open({ bootId: "another boot" });
  expect(second.report.source).toBe("replica");
  expect(await readFacts(second)).toEqual(["a"]);
});

test("unmarked epochs are ignored, whatever lies in their prefix", async () => {
  const first = await open();
  await write(first, "a");
  await crash(first);
  const second = await open();
  await writeFact(second, "never marked");
  // A taker that stalls after its snapshot was shipped: no proof, no mark.
  await second.replica.sync();
  await crash(second);
  expect(await replicaFiles(2)).not.toEqual([]);
  await wipe();
  const third = await open();
  expect([third.report.from.epoch, await readFacts(third)]).toEqual([1, ["a"]]);
});

test("a marked epoch whose replica was deleted is that tenant's error, never an empty file", async () => {
  const first = await open();
  await write(first, "a");
  await crash(first);
  await wipe();
  const root = join(workspace.stores.folder, "store", `tenants/${id}/e1`);
  await rm(root, { recursive: true });
  for (let tries = 0; tries < 3; tries += 1) {
    const opening = open();
    await expect(opening).rejects.toThrow(TenantUnavailableError);
    await expect(opening).rejects.toThrow(/could not be restored from epoch 1/);
  }
  const healthy = id;
  id = `${healthy}-other`;
  await write(await open(), "served");
});

test("a replica that was cut short of what its release recorded is refused, if there is no snapshot of it", async () => {
  const first = await open();
  for (const fact of ["a", "b", "c"]) await write(first, fact);
  await releaseNow(first);
  await wipe();
  const files = (await replicaFiles(1)).filter((key) => key.includes("/ltx/0/"));
  await workspace.stores.inner.delete(files.at(-1) ?? "");
  await workspace.stores.inner.delete(`tenants/${id}/snapshots/e1`);
  await expect(open()).rejects.toThrow(/Something was deleted from the store/);
});

test("a restored file with a gap in a history is refused", async () => {
  const first = await open();
  await first.connection.write((on) => {
    on.run(
      "INSERT INTO runs (id, agent, status, durability, created_at) VALUES ('r', 'a', 'running', 'local', 1)",
    );
    for (const seq of [1, 3])
      on.run(
        "INSERT INTO history (run_id, seq, kind, path, name, occurrence, attempt, at) VALUES ('r', ?, 'k', '', '', 0, 0, 1)",
        [seq],
      );
  });
  await first.durable();
  await crash(first);
  await wipe();
  await expect(open()).rejects.toThrow(/the history of run "r" has a gap/);
});

test("the file of another tenant is refused", async () => {
  const first = await open();
  await first.connection.write((on) => on.run("UPDATE meta SET value = 'somebody' WHERE key = 'tenant'"));
  await first.durable();
  await crash(first);
  await expect(open()).rejects.toThrow(/belongs to tenant "somebody"/);
  await wipe();
  await expect(open()).rejects.toThrow(/belongs to tenant "somebody"/);
});

test("a file whose schema is newer than the code is refused, with the reason, and is not changed", async () => {
  const first = await open();
  await first.connection.write((on) =>
    on.run("INSERT INTO __drizzle_migrations (hash, created_at) VALUES ('future', 9999999999999)"),
  );
  await first.durable();
  await crash(first);
  for (const restart of [async () => {}, wipe]) {
    await restart();
    const opening = open();
    await expect(opening).rejects.toThrow(TenantUnavailableError);
    await expect(opening).rejects.toThrow(/Run the version that wrote it, or a newer one/);
  }
  expect(await marks()).not.toContainEqual([2, expect.any(Number)]);
});

test("a tenant that another Machine holds is not opened, and its file and record are left alone", async () => {
  const far = await workspace.stores.host({ machine: "another" });
  const held = await open({ hostRecord: far });
  await write(held, "a");
  await expect(open()).rejects.toThrow(/is served by another host/);
  await write(held, "b");
  expect(held.epoch).toBe(1);
});

test("a wrong master key is that tenant's error; with the right one it opens", async () => {
  const [right, wrong] = [1, 2].map((byte) => [{ id: "k", key: new Uint8Array(32).fill(byte) }]);
  const first = await open({ masterKeys: right ?? [] });
  await write(first, "a");
  await crash(first);
  await expect(open({ masterKeys: wrong ?? [] })).rejects.toThrow(/does not open with master key/);
  expect(await readFacts(await open({ masterKeys: right ?? [] }))).toEqual(["a"]);
});
