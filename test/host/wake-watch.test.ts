import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { WakeWatch } from "../../app/host/wake-watch.ts";
import type { ObjectStore } from "../../app/storage/object-store.ts";
import { wakeKey, type Wake } from "../../app/storage/wakes.ts";
import { collectLog } from "../support/litestream.ts";

const start = Date.parse("2026-11-23T10:05:10.000Z");
const minute = 60_000;

let keys: string[];
let woken: string[];
let lists: number;
let failing: Set<string>;
let watch: WakeWatch;

beforeEach(() => {
  vi.useFakeTimers({ now: start });
  [keys, woken, lists, failing] = [[], [], 0, new Set()];
  const store = {
    list: async () => {
      lists += 1;
      if (failing.has("the list")) throw new Error("the store is down");
      return keys.toSorted();
    },
  } as unknown as ObjectStore;
  const wake = async ({ tenantId }: Wake): Promise<void> => {
    woken.push(`${tenantId} ${new Date().toISOString().slice(14, 19)}`);
    if (failing.has(tenantId)) throw new Error("it cannot be opened");
  };
  watch = new WakeWatch({ store, log: collectLog(), wake });
});

afterEach(async () => {
  await watch.stop();
  vi.useRealTimers();
});

test("what is due is woken at the start, the earliest first", async () => {
  keys = [wakeKey("b", start), wakeKey("a", start - 60 * minute)];
  watch.start();
  await vi.advanceTimersByTimeAsync(0);
  expect(woken).toEqual(["a 05:10", "b 05:10"]);
});

test("what is due within the next minute is woken at its time, and what comes after it by a later look", async () => {
  keys = [wakeKey("soon", start + minute), wakeKey("later", start + 3 * minute)];
  watch.start();
  await vi.advanceTimersByTimeAsync(55_000);
  expect(woken).toEqual(["soon 06:00"]);
  keys.shift();
  await vi.advanceTimersByTimeAsync(2 * minute);
  expect(woken.at(-1)).toBe("later 08:00");
});

test("two wakes of one tenant are both heeded", async () => {
  keys = [wakeKey("a", start + 50_000)];
  watch.start();
  await vi.advanceTimersByTimeAsync(0);
  watch.expect({ tenantId: "a", key: wakeKey("a", start + 2 * minute), at: start + 100_000 });
  await vi.advanceTimersByTimeAsync(100_000);
  expect(woken).toContain("a 06:00");
  expect(woken).toContain("a 06:50");
});

test("a tenant that cannot be woken is tried again soon, and keeps nobody from being woken", async () => {
  failing.add("a");
  keys = ["a", "b", "c", "d", "e", "f"].map((tenantId) => wakeKey(tenantId, start));
  watch.start();
  await vi.advanceTimersByTimeAsync(0);
  expect(woken).toHaveLength(6);
  keys = [wakeKey("a", start)];
  failing.clear();
  await vi.advanceTimersByTimeAsync(5_000);
  expect(woken.at(-1)).toBe("a 05:15");
  await vi.advanceTimersByTimeAsync(30_000);
  expect(woken).toHaveLength(7);
});

test("a store that cannot be listed is asked again soon", async () => {
  failing.add("the list");
  watch.start();
  await vi.advanceTimersByTimeAsync(12_000);
  expect(lists).toBe(3);
  failing.clear();
  keys = [wakeKey("a", start)];
  await vi.advanceTimersByTimeAsync(5_000);
  expect(woken).toEqual(["a 05:25"]);
});

test("nothing is woken after a stop", async () => {
  keys = [wakeKey("a", start + minute)];
  watch.start();
  await vi.advanceTimersByTimeAsync(0);
  await watch.stop();
  watch.expect({ tenantId: "b", key: "wakes/x/b", at: start });
  await vi.advanceTimersByTimeAsync(5 * minute);
  expect([woken, lists, vi.getTimerCount()]).toEqual([[], 1, 0]);
});
