import { rm } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { openTenant, type OpenTenant, type StoragePorts } from "../../app/storage/open-tenant.ts";
import { readFacts, TenantWorkspace, writeFact } from "../support/storage.ts";

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

test("a released file is used again as it is: no restore, no round, no mark", async () => {
  const first = await open();
  await write(first, "a");
  await releaseNow(first);
  const released = await workspace.stores.tenantRecord(id);
  expect(released).toMatchObject({ host: null, lineage: [{ epoch: 1, closedAt: expect.any(Number) }] });
  expect(released.lineage[0]?.txid).toBeGreaterThan(0);
  const second = await open();
  expect([second.report.source, second.rounds.isCovered]).toEqual(["local", true]);
  await second.durable();
  expect([second.replica.wasRegistered, await replicaFiles(2)]).toEqual([false, []]);
  expect(await readFacts(second)).toEqual(["a"]);
  expect((await marks())[1]).toEqual([2, null]);
});

test("a tenant that is opened and released unwritten, again and again, keeps its record and its file", async () => {
  const first = await open();
  await write(first, "a");
  await releaseNow(first);
  for (let life = 0; life < 5; life += 1) {
    const again = await open();
    expect(again.report.source).toBe("local");
    await again.durable();
    await releaseNow(again);
  }
  expect(await workspace.stores.tenantRecord(id)).toMatchObject({ epoch: 6, lineage: [{ epoch: 1 }] });
  await wipe();
  expect(await readFacts(await open())).toEqual(["a"]);
});

test("a release is a round, then what is to be done before giving, then the record, and nothing is acknowledged after", async () => {
  const tenant = await open();
  await write(tenant, "a");
  await writeFact(tenant, "b");
  const order: string[] = [];
  const put = workspace.store.hold("put", `tenants/${id}/tenant.json`);
  const releasing = tenant.release(async () => {
    order.push(tenant.rounds.isCovered ? "covered" : "not covered");
    order.push(`held by ${(await workspace.stores.tenantRecord(id)).host === null ? "nobody" : "us"}`);
  });
  await put.arrived;
  expect(order).toEqual(["covered", "held by us"]);
  await expect(tenant.rounds.pass()).rejects.toThrow("let go");
  await expect(tenant.durable()).rejects.toThrow("closed");
  put.letThrough();
  await releasing;
  await wipe();
  expect(await readFacts(await open())).toEqual(["a", "b"]);
});

test("a commit that comes when the release has begun is refused, not lost in a file that counts as durable", async () => {
  const tenant = await open();
  await write(tenant, "a");
  const late: Promise<unknown>[] = [];
  await tenant.release(async () => {
    late.push(writeFact(tenant, "late"), tenant.durable());
    await Promise.allSettled(late);
  });
  expect((await Promise.allSettled(late)).map(({ status }) => status)).toEqual(["rejected", "rejected"]);
  const again = await open();
  expect([again.rounds.isCovered, await readFacts(again)]).toEqual([true, ["a"]]);
});

test("a release whose answer is lost ends the epoch all the same, and the next opening goes on from its file", async () => {
  for (const fault of ["lost", "unanswered", "late"] as const) {
    const tenant = await open();
    await write(tenant, fault);
    workspace.store.fail("put", `tenants/${id}/tenant.json`, fault);
    // Neither the answer comes back nor the read that would settle it.
    workspace.store.fail("get", `tenants/${id}/tenant.json`, "lost");
    await expect(releaseNow(tenant)).rejects.toThrow("not known");
    await expect(tenant.rounds.pass()).rejects.toThrow("let go");
    await tenant.abandon(new Error("not released"));
    await workspace.store.deliverLate();
  }
  const last = await open();
  expect([last.epoch, last.report.source]).toEqual([4, "local"]);
  expect(await readFacts(last)).toEqual(["late", "lost", "unanswered"]);
});

test("a release while the store is down fails, and the next opening goes on from claim and file", async () => {
  const tenant = await open();
  await write(tenant, "a");
  await writeFact(tenant, "b");
  workspace.store.down = true;
  await expect(releaseNow(tenant)).rejects.toThrow("not known");
  await tenant.abandon(new Error("not released"));
  workspace.store.down = false;
  expect((await workspace.stores.tenantRecord(id)).host).not.toBe(null);
  const next = await open();
  expect([next.report.source, next.rounds.isCovered]).toEqual(["local", false]);
  await next.durable();
  expect(await readFacts(next)).toEqual(["a", "b"]);
});

test("what is abandoned passes nothing any more and tells Litestream nothing, also what was under way", async () => {
  const tenant = await open();
  await writeFact(tenant, "a");
  const outcomes = Promise.allSettled(Array.from({ length: 5 }, () => tenant.durable()));
  await tenant.connection.idle();
  await tenant.abandon(new Error("given up"));
  expect((await outcomes).map(({ status }) => status)).toEqual(Array.from({ length: 5 }, () => "rejected"));
  await tenant.replica.registerAgain();
  await expect(tenant.replica.sync()).rejects.toThrow("let go");
  expect((await workspace.litestream.control.list()).map(({ path }) => path)).not.toContain(tenant.path);
  const next = await open();
  await next.durable();
  expect(await readFacts(next)).toEqual(["a"]);
});
