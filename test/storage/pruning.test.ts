import { afterEach, beforeEach, expect, test } from "vitest";
import { claimTenant } from "../../app/storage/claim.ts";
import type { OwnHostRecord } from "../../app/storage/host-record.ts";
import { OwnedRecord } from "../../app/storage/owned-record.ts";
import { pruneTenant, type Pruned } from "../../app/storage/pruning.ts";
import { PruningWatch } from "../../app/storage/pruning-watch.ts";
import type { Snapshot } from "../../app/storage/snapshot.ts";
import { StoreWorkspace } from "../support/storage.ts";

const dayMs = 24 * 60 * 60_000;
const historyMs = 7 * dayMs;
const id = "acme";

let workspace: StoreWorkspace;
let host: OwnHostRecord;
let now: number;

beforeEach(async () => {
  workspace = await StoreWorkspace.open();
  host = await workspace.host();
  now = Date.UTC(2026, 0, 1);
});

afterEach(() => workspace.close());

async function claim(): Promise<OwnedRecord> {
  const facts = { now, schema: 1, localEpoch: null };
  return new OwnedRecord(
    workspace.store,
    await claimTenant(workspace.store, id, workspace.claimer(host), facts),
  );
}

/** Claims, and writes so many objects of the epoch as a replica would. */
async function live(objects = 3): Promise<OwnedRecord> {
  const record = await claim();
  for (let made = 0; made < objects; made += 1)
    await workspace.inner.put(`tenants/${id}/e${record.epoch}/ltx/0/${made}.ltx`, "some bytes");
  await record.mark({ epoch: record.epoch - 1, txid: null }, null);
  return record;
}

async function release(record: OwnedRecord): Promise<void> {
  const key = `tenants/${id}/snapshots/e${record.epoch}`;
  await workspace.inner.put(key, "a snapshot");
  const { epoch } = record;
  const snapshot: Snapshot = { format: 1, epoch, txid: 3, key, sha256: "", bytes: 1, keyId: null };
  await record.release({ closedAt: now, txid: 3 }, snapshot);
}

async function liveAndRelease(): Promise<void> {
  await release(await live());
}

function prune(record: OwnedRecord): Promise<Pruned> {
  return pruneTenant(record, { store: workspace.store, now, historyMs });
}

async function lineage(): Promise<readonly number[]> {
  return (await workspace.tenantRecord(id)).lineage.map(({ epoch }) => epoch);
}

/** The epochs and snapshots of which the store has something. */
async function stored(): Promise<readonly string[]> {
  const keys = await workspace.inner.list(`tenants/${id}/`);
  const parts = keys.map((key) =>
    key.includes("/snapshots/") ? `s-${key.split("/")[3]}` : key.split("/")[2],
  );
  return [...new Set(parts.filter((part) => part !== undefined && part !== "tenant.json"))] as string[];
}

test("epochs that ended longer ago than the window go, and their objects; the newest marked one stays whatever its age", async () => {
  await liveAndRelease();
  now += dayMs;
  await liveAndRelease();
  now += 7 * dayMs;
  const current = await live();
  expect(await prune(current)).toEqual({ epochs: 2, objects: 7, isDone: true });
  expect([await lineage(), await stored()]).toEqual([[3], ["e3", "s-e2"]]);
  now += 400 * dayMs;
  expect(await prune(current)).toEqual({ epochs: 0, objects: 0, isDone: true });
  expect([await lineage(), await stored()]).toEqual([[3], ["e3", "s-e2"]]);
});

test("an epoch that ended within the window stays, with its objects, and only the named snapshot of all", async () => {
  await liveAndRelease();
  now += 6 * dayMs;
  await liveAndRelease();
  const current = await live();
  expect(await prune(current)).toEqual({ epochs: 0, objects: 1, isDone: true });
  expect([await lineage(), await stored()]).toEqual([
    [1, 2, 3],
    ["e1", "e2", "e3", "s-e2"],
  ]);
});

test("an epoch whose host crashed ended when the next marked one began", async () => {
  await live();
  now += 10 * dayMs;
  await live();
  now += historyMs - 1;
  const current = await live();
  await prune(current);
  expect(await lineage()).toEqual([1, 2, 3]);
  now += 1;
  await prune(current);
  expect(await lineage()).toEqual([2, 3]);
});

test("before its own epoch is marked an owner prunes nothing: it has restored from the one before", async () => {
  await live();
  await live();
  now += 30 * dayMs;
  const current = await claim();
  expect(await prune(current)).toEqual({ epochs: 0, objects: 0, isDone: true });
  expect(await stored()).toEqual(["e1", "e2"]);
});

test("what crashed takers have left in unmarked epochs goes, and nothing of epochs that are still to come", async () => {
  await live();
  const stalled = await claim();
  await workspace.inner.put(`tenants/${id}/e${stalled.epoch}/ltx/9/late.ltx`, "late");
  const current = await live();
  await workspace.inner.put(`tenants/${id}/e${current.epoch + 1}/ltx/9/taker.ltx`, "a taker's");
  await workspace.inner.put(`tenants/${id}/snapshots/e${current.epoch}`, "not named yet");
  await workspace.inner.put(`tenants/${id}/blobs/e1`, "something else");
  await workspace.inner.put(`tenants/${id}0/e1/ltx/0/1.ltx`, "another tenant's");
  await prune(current);
  expect(await stored()).toEqual(["blobs", "e1", "e3", "e4", "s-e3"]);
  expect(await workspace.inner.list(`tenants/${id}0/`)).toHaveLength(1);
});

test("killed between lineage and objects, or in the midst of them, the next pass finds what is left", async () => {
  await liveAndRelease();
  await liveAndRelease();
  now += 8 * dayMs;
  const first = await live();
  workspace.store.fail("list", `tenants/${id}/`, "lost");
  await expect(prune(first)).rejects.toThrow("not known");
  expect([await lineage(), await stored()]).toEqual([[3], ["e1", "e2", "e3", "s-e1", "s-e2"]]);
  workspace.store.fail("delete", `tenants/${id}/e1/ltx/0/1`, "lost");
  await expect(prune(first)).rejects.toThrow("not known");
  expect(await stored()).toContain("e1");
  const next = await live();
  await prune(next);
  expect(await stored()).toEqual(["e3", "e4", "s-e2"]);
});

test("as long as it is not known whether the lineage was written, no object is deleted", async () => {
  await liveAndRelease();
  now += 8 * dayMs;
  const current = await live();
  for (const fault of ["lost", "late"] as const) {
    workspace.store.fail("put", `tenants/${id}/tenant.json`, fault);
    await expect(prune(current)).rejects.toThrow("not known");
    expect(await stored()).toContain("e1");
  }
});

test("who has lost the tenant, or given it away, prunes nothing of it", async () => {
  await liveAndRelease();
  now += 8 * dayMs;
  const lost = await live();
  await claim();
  await expect(prune(lost)).rejects.toThrow(/changed by someone else/);
  const given = await live();
  await release(given);
  const before = await workspace.tenantRecord(id);
  await expect(prune(given)).rejects.toThrow(/not this host's any more/);
  expect(await workspace.tenantRecord(id)).toEqual(before);
  expect(await stored()).toContain("e1");
});

test("a pass deletes so much and no more, and says that there is more", async () => {
  await release(await live(700));
  now += 8 * dayMs;
  const current = await live();
  expect(await prune(current)).toEqual({ epochs: 1, objects: 500, isDone: false });
  expect(await prune(current)).toEqual({ epochs: 0, objects: 200, isDone: true });
});

test("a tenant is pruned once its epoch is marked, then once a day, and its next epoch knows when", async () => {
  const records: OwnedRecord[] = [];
  const watch = new PruningWatch({
    store: workspace.store,
    historyMs,
    records: () => records,
    log: workspace.log,
    now: () => now,
  });
  const lists = (): number => workspace.store.count("list", `tenants/${id}/`);
  const unmarked = await claim();
  records.push(unmarked);
  const before = lists();
  await watch.look();
  expect(lists() - before).toBe(0);
  await unmarked.mark({ epoch: 0, txid: 0 }, null);
  await watch.look();
  await watch.look();
  expect(lists() - before).toBe(1);
  now += dayMs;
  workspace.store.fail("list", `tenants/${id}/`, "lost");
  await watch.look();
  await watch.look();
  expect(lists() - before).toBe(2);
  now += 60_000;
  await watch.look();
  expect(lists() - before).toBe(3);
  await release(unmarked);
  records.splice(0, 1, await live());
  now += dayMs / 2;
  await watch.look();
  expect(lists() - before).toBe(3);
  now += dayMs;
  await watch.look();
  expect(lists() - before).toBe(4);
});
