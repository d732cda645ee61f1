import { beforeEach, expect, test } from "vitest";
import { IdleWatch } from "../../app/host/idle-watch.ts";
import type { ObjectStore } from "../../app/storage/object-store.ts";
import { wakeKey } from "../support/wakes.ts";

const start = Date.parse("2026-11-23T10:05:10.000Z");
const minute = 60_000;

let now: number;
let nextDue: number;
let wakes: string[];
let holders: Map<string, string | null>;
let isDown: boolean;
let lists: number;
let told: number;
let watch: IdleWatch;

beforeEach(() => {
  [now, nextDue, wakes, holders] = [start, Infinity, [], new Map()];
  [isDown, lists, told] = [false, 0, 0];
  const store = {
    list: async () => {
      lists += 1;
      if (isDown) throw new Error("the store is down");
      return wakes;
    },
    get: async (key: string) => {
      const holder = holders.get(key.split("/")[1] ?? "");
      if (holder === undefined) return undefined;
      const record = {
        nonce: "n",
        epoch: 1,
        host: holder,
        region: "r",
        lineage: [],
        forkOf: null,
        erasedAt: null,
      };
      return { body: new TextEncoder().encode(JSON.stringify(record)), etag: "e" };
    },
  } as unknown as ObjectStore;
  watch = new IdleWatch({
    exitIdleMs: 5 * minute,
    hostId: "me",
    store,
    clocks: { wall: () => now, monotonic: () => now - start },
    nextDue: () => nextDue,
    onIdle: () => (told += 1),
  });
});

/** Whether the host is told to end, after it has looked every second for so long. */
async function endsWithin(ms: number): Promise<boolean> {
  const before = told;
  for (const until = now + ms; now < until; now += 1_000) {
    await watch.look();
    if (told > before) return true;
  }
  return false;
}

test("a host that nobody has asked for anything for so long ends, once", async () => {
  expect(await endsWithin(5 * minute)).toBe(false);
  expect(await endsWithin(2_000)).toBe(true);
  expect(await endsWithin(20 * minute)).toBe(false);
});

test("a request counts from its end, and while it is being answered", async () => {
  const answered = watch.request();
  expect(await endsWithin(20 * minute)).toBe(false);
  answered();
  expect(await endsWithin(5 * minute)).toBe(false);
  expect(await endsWithin(minute)).toBe(true);
});

test("a host with something to do, now or soon, does not end", async () => {
  nextDue = 0;
  expect(await endsWithin(20 * minute)).toBe(false);
  nextDue = now + 4 * minute;
  expect(await endsWithin(minute)).toBe(false);
  nextDue = now + 40 * minute;
  expect(await endsWithin(minute)).toBe(true);
});

test.each<[string, number, string | null | undefined, boolean]>([
  ["of a tenant that is nobody's", 2, null, true],
  ["of a tenant of its own", 2, "me", true],
  ["of a tenant of another host", 2, "another", false],
  ["of a tenant that was never claimed", 2, undefined, true],
  ["that is far", 12, null, false],
  ["that was due long ago", -5, null, false],
])("a wake %s keeps a host: %s minutes ahead, held by %s: %s", async (_, minutes, holder, stays) => {
  now += 6 * minute;
  wakes = [wakeKey("acme", now + minutes * minute)];
  if (holder !== undefined) holders.set("acme", holder);
  expect(await endsWithin(1_000)).toBe(!stays);
});

test("a host that cannot see the wakes stays, and does not ask every second", async () => {
  isDown = true;
  now += 6 * minute;
  expect(await endsWithin(10 * minute)).toBe(false);
  expect(lists).toBe(20);
});
