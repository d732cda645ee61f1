import { afterEach, beforeEach, expect, test } from "vitest";
import { dueWakes, TenantWakes } from "../../app/storage/wakes.ts";
import { StoreWorkspace } from "../support/storage.ts";
import { wakeKey, withoutNonce } from "../support/wakes.ts";

const at = Date.parse("2026-11-23T10:05:40.000Z");
const minute = 60_000;
let workspace: StoreWorkspace;
let wakes: TenantWakes;

beforeEach(async () => {
  workspace = await StoreWorkspace.open();
  wakes = new TenantWakes(workspace.store, "acme");
  wakes.begin(1);
});

afterEach(() => workspace.close());

async function inStore(): Promise<readonly string[]> {
  return (await workspace.inner.list("wakes/")).map(withoutNonce);
}

test("a wake stands in its minute, by UTC", async () => {
  await wakes.ensure(at);
  expect(await inStore()).toEqual(["wakes/2026-11-23T10:05/acme.1-0"]);
  const [key] = await workspace.inner.list("wakes/");
  expect(await dueWakes(workspace.store, at)).toEqual([
    {
      key,
      tenantId: "acme",
      at: Date.parse("2026-11-23T10:05:00.000Z"),
    },
  ]);
});

test("wakes of later minutes, and what is no wake, are not due; the earliest comes first", async () => {
  for (const key of [wakeKey("b", at), wakeKey("a", at - 3 * minute), wakeKey("c", at + minute)])
    await workspace.inner.put(key, "");
  await workspace.inner.put("wakes/readme", "");
  await workspace.inner.put("wakes/someday/x", "");
  await workspace.inner.put("wakes/2026-11-23T10:01/.DS_Store", "");
  expect((await dueWakes(workspace.store, at)).map(({ tenantId }) => tenantId)).toEqual(["a", "b"]);
});

test("a moment beyond four-digit years has a wake that sorts last, not one that cannot be made", async () => {
  await wakes.settle(8.64e15);
  expect(await inStore()).toEqual(["wakes/9999-12-31T23:59/acme.1-0"]);
});

test("one put stands for all who need a wake", async () => {
  await Promise.all(Array.from({ length: 20 }, () => wakes.ensure(at)));
  await wakes.ensure(at + 10 * minute);
  expect(workspace.store.count("put", "wakes/")).toBe(1);
});

test("nobody passes before the wake is in the store", async () => {
  const put = workspace.store.hold("put", "wakes/");
  let passed = 0;
  const both = [wakes.ensure(at), wakes.ensure(at)].map((one) => one.then(() => (passed += 1)));
  await put.arrived;
  expect([passed, await inStore()]).toEqual([0, []]);
  put.letThrough();
  await Promise.all(both);
});

test("a wake that could not be put fails who needed it, and is put by the next", async () => {
  workspace.store.fail("put", "wakes/", "lost");
  await expect(wakes.ensure(at)).rejects.toThrow("not known");
  await wakes.ensure(at);
  expect(await inStore()).toHaveLength(1);
});

test("a wake in three days does not stand for a run that is unfinished now", async () => {
  await wakes.settle(at + 3 * 24 * 60 * minute);
  await wakes.ensure(at);
  expect((await dueWakes(workspace.store, at)).map(({ tenantId }) => tenantId)).toEqual(["acme"]);
});

test("a settled tenant has just the wake of its next moment, which was there before the old one went", async () => {
  await wakes.ensure(at);
  const deletion = workspace.store.hold("delete", "wakes/");
  const settling = wakes.settle(at + 5 * minute);
  await deletion.arrived;
  expect(await inStore()).toEqual([wakeKey("acme", at), wakeKey("acme", at + 5 * minute)]);
  deletion.letThrough();
  await settling;
  expect(await inStore()).toEqual([wakeKey("acme", at + 5 * minute)]);
});

test("a settled tenant with nothing to do has no wake, also none that others left", async () => {
  const stale = wakeKey("acme", at - 60 * minute);
  await workspace.inner.put(stale, "");
  wakes.adopt(stale);
  await wakes.ensure(at);
  await wakes.settle(null);
  expect(await inStore()).toEqual([]);
});

test("a wake of a later epoch is another host's, which relies on it: it stays, whatever the earlier one settles", async () => {
  const taker = new TenantWakes(workspace.store, "acme");
  taker.begin(2);
  await taker.ensure(at);
  for (const { key } of await dueWakes(workspace.store, at)) wakes.adopt(key);
  await wakes.ensure(at);
  await wakes.settle(null);
  expect(await inStore()).toEqual([wakeKey("acme", at, 2)]);
});

test("a delete that comes late takes no wake away that was put after it, in the same minute neither", async () => {
  await wakes.ensure(at);
  const [first = ""] = await workspace.inner.list("wakes/");
  await wakes.settle(null);
  await wakes.ensure(at);
  await workspace.inner.delete(first);
  expect(await inStore()).toEqual([wakeKey("acme", at)]);
});

test("what a host has left standing when it parked a tenant is its own afterwards", async () => {
  const left = await wakes.settle(at + 5 * minute);
  const later = new TenantWakes(workspace.store, "acme", left);
  later.begin(1);
  await later.settle(at + 5 * minute);
  expect(workspace.store.count("put", "wakes/")).toBe(1);
  expect(await inStore()).toEqual([wakeKey("acme", at + 5 * minute)]);
  await later.settle(null);
  expect(await inStore()).toEqual([]);
});

test("a wake of an earlier epoch stands for nothing any more: another host may have had the tenant meanwhile", async () => {
  await wakes.ensure(at);
  wakes.begin(3);
  await wakes.ensure(at);
  expect(await inStore()).toEqual([wakeKey("acme", at), wakeKey("acme", at, 3)]);
  await wakes.settle(null);
  expect(await inStore()).toEqual([]);
});

test("a wake that somebody put by hand, without an epoch, is due, and goes with the tenant's runs", async () => {
  const byHand = "wakes/2026-11-23T10:05/acme";
  await workspace.inner.put(byHand, "");
  expect(await dueWakes(workspace.store, at)).toMatchObject([{ key: byHand, tenantId: "acme" }]);
  wakes.adopt(byHand);
  await wakes.settle(null);
  expect(await inStore()).toEqual([]);
});

test("a wake that is due still stays if it is the next one", async () => {
  await wakes.ensure(at);
  await wakes.settle(at + 1_000);
  expect(await inStore()).toEqual([wakeKey("acme", at)]);
});

test.each(["unanswered", "lost"] as const)(
  "after a delete that was %s nobody relies on the wake",
  async (fault) => {
    await wakes.ensure(at);
    workspace.store.fail("delete", "wakes/", fault);
    await expect(wakes.settle(null)).rejects.toThrow("not known");
    await wakes.ensure(at + minute);
    expect(await inStore()).toContain(wakeKey("acme", at + minute));
    await wakes.settle(null);
    expect(await inStore()).toEqual([]);
  },
);

test("a wake that was seen, and may have been deleted meanwhile, does not stand for anything", async () => {
  await wakes.ensure(at);
  await wakes.settle(null);
  wakes.adopt(wakeKey("acme", at));
  await wakes.ensure(at);
  expect(await inStore()).toEqual([wakeKey("acme", at)]);
});

test("a settling waits for a wake that is just being put, and takes it away", async () => {
  const put = workspace.store.hold("put", "wakes/");
  const ensuring = wakes.ensure(at);
  await put.arrived;
  const settling = wakes.settle(null);
  put.letThrough();
  await Promise.all([ensuring, settling]);
  expect(await inStore()).toEqual([]);
});
