import { beforeEach, expect, test } from "vitest";
import { listPostponed, postpone, wakesToServe } from "../../app/storage/postponed.ts";
import { allWakes } from "../../app/storage/wakes.ts";
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
  const served = wakesToServe(await allWakes(store), await listPostponed(store), { now });
  return served.map(({ tenantId }) => tenantId);
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

test("of a tenant that is tried for hours there is one entry", async () => {
  await store.put(wakeKey("broken", start), "");
  await triesWithin(6 * hour);
  expect((await listPostponed(store)).length).toBe(1);
});

test("what a crash left between two entries postpones no longer than the last of them says", async () => {
  await store.put("postponed/broken/2026-11-23T10:00/2026-11-23T10:08", "");
  await store.put("postponed/broken/2026-11-23T10:00/2026-11-23T10:16", "");
  await store.put(wakeKey("broken", start), "");
  expect(await toServe(start + 10 * minute)).toEqual([]);
  expect(await toServe(start + 11 * minute)).toEqual(["broken"]);
});

test("a host that finds it broken soon after another has postponed it leaves that as it is", async () => {
  await postpone(store, "broken", start);
  expect(await postpone(store, "broken", start + 1_000)).toBe(start + minute);
  expect((await listPostponed(store)).length).toBe(1);
});

test("a tenant is postponed for a whole minute at least, whenever in a minute it was tried", async () => {
  const late = start + 59_900;
  const until = await postpone(store, "broken", late);
  expect([until - late >= minute, (await listPostponed(store))[0]?.until]).toEqual([true, until]);
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
