import { beforeEach, expect, test } from "vitest";
import { listPostponed, postpone, postponedAt, wakesToServe } from "../../app/storage/postponed.ts";
import { MemoryStore } from "../fakes/memory-store.ts";
import { wakeKey } from "../support/wakes.ts";

const start = Date.parse("2026-11-23T10:05:00.000Z");
const minute = 60_000;
const hour = 60 * minute;

let store: MemoryStore;
beforeEach(() => {
  store = new MemoryStore();
});

async function toServe(now: number): Promise<readonly string[]> {
  return (await wakesToServe(store, now)).map(({ tenantId }) => tenantId);
}

/** Tries the tenant each minute that its wake is to be served, in vain; gives the minutes, since the start. */
async function triesWithin(ms: number): Promise<readonly number[]> {
  const tries: number[] = [];
  for (let now = start; now < start + ms; now += minute) {
    if (!(await toServe(now)).includes("broken")) continue;
    tries.push((now - start) / minute);
    await postpone(store, "broken", now);
  }
  return tries;
}

test("a tenant that can never be opened is tried ever more rarely, and at least once an hour", async () => {
  await store.put(wakeKey("broken", start), "");
  expect(await triesWithin(6 * hour)).toEqual([0, 1, 2, 4, 8, 16, 32, 64, 124, 184, 244, 304]);
});

test("its wake stays where it is, and nobody else's is postponed", async () => {
  const keys = [wakeKey("broken", start), wakeKey("well", start)];
  for (const key of keys) await store.put(key, "");
  await postpone(store, "broken", start);
  expect(await toServe(start)).toEqual(["well"]);
  expect(await store.list("wakes/")).toEqual(keys.toSorted());
});

test("there is never more than one entry of a tenant for long, and no moment of none", async () => {
  await store.put(wakeKey("broken", start), "");
  await triesWithin(6 * hour);
  expect((await listPostponed(store)).length).toBe(1);
});

test("what a crash left between two entries postpones no longer than the last of them says", async () => {
  await store.put("postponed/broken/2026-11-23T10:00/2026-11-23T10:08", "");
  await store.put("postponed/broken/2026-11-23T10:00/2026-11-23T10:16", "");
  const postponed = await listPostponed(store);
  expect(postponedAt(postponed, start + 10 * minute).size).toBe(1);
  expect(postponedAt(postponed, start + 11 * minute).size).toBe(0);
});

test("several hosts that find it broken in the same minute postpone it once", async () => {
  await postpone(store, "broken", start);
  expect(await postpone(store, "broken", start + 1_000)).toBe(start + minute);
  expect((await listPostponed(store)).length).toBe(1);
});

test("one that was well meanwhile begins anew", async () => {
  await store.put("postponed/acme/2026-11-23T01:00/2026-11-23T02:00", "");
  expect(await postpone(store, "acme", start)).toBe(start + minute);
});

test("what a host with a wrong clock has written for a day ahead postpones nothing", async () => {
  await store.put(wakeKey("acme", start), "");
  await postpone(store, "acme", start + 24 * hour);
  expect(await toServe(start)).toEqual(["acme"]);
  expect(await postpone(store, "acme", start)).toBe(start + minute);
});

test("what is no entry postpones nothing", async () => {
  await store.put(wakeKey("acme", start), "");
  for (const key of ["postponed/.DS_Store", "postponed/acme/soon/later", "postponed/acme/2026-11-23T10:00"])
    await store.put(key, "");
  expect(await listPostponed(store)).toEqual([]);
  expect(await toServe(start)).toEqual(["acme"]);
});

test("where it cannot be told what is postponed, nothing is", async () => {
  await store.put(wakeKey("acme", start), "");
  await postpone(store, "acme", start);
  const list = store.list.bind(store);
  store.list = async (prefix) => {
    if (prefix.startsWith("postponed/")) throw new Error("the store is down");
    return await list(prefix);
  };
  expect(await toServe(start)).toEqual(["acme"]);
});
