import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { WakeWatch } from "../../app/host/wake-watch.ts";
import { TenantUnavailableError } from "../../app/storage/errors.ts";
import type { ObjectStore } from "../../app/storage/object-store.ts";
import type { Wake } from "../../app/storage/wakes.ts";
import { collectLog } from "../support/litestream.ts";
import { wakeKey } from "../support/wakes.ts";

const start = Date.parse("2026-11-23T10:05:10.000Z");
const minute = 60_000;

let keys: string[];
let woken: string[];
let lists: number;
let seen: readonly string[];
let failing: Set<string>;
let damaged: Set<string>;
let isStoreUp: boolean;
let waitFor: Map<string, Promise<void>>;
let watch: WakeWatch;
let told: (readonly string[])[];

beforeEach(() => {
  vi.useFakeTimers({ now: start });
  told = [];
  [keys, woken, lists, seen, failing, waitFor] = [[], [], 0, [], new Set(), new Map()];
  [damaged, isStoreUp] = [new Set(), true];
  const store = {
    list: async (prefix: string) => {
      if (prefix === "wakes/") lists += 1;
      if (failing.has("the list")) throw new Error("the store is down");
      return keys.filter((key) => key.startsWith(prefix)).toSorted();
    },
    put: async (key: string) => void keys.push(key),
    delete: async (key: string) => void (keys = keys.filter((one) => one !== key)),
  } as unknown as ObjectStore;
  const wake = async ({ tenantId }: Wake, known: readonly string[]): Promise<void> => {
    told.push(known);
    woken.push(`${tenantId} ${new Date().toISOString().slice(14, 19)}`);
    await waitFor.get(tenantId);
    if (failing.has(tenantId)) throw new Error("it cannot be opened");
    if (damaged.has(tenantId)) throw new TenantUnavailableError("it is damaged", { damage: "file" });
  };
  const onSeen = (wakes: readonly Wake[]): void => void (seen = wakes.map(({ tenantId }) => tenantId));
  watch = new WakeWatch({
    store,
    log: collectLog(),
    wake,
    onSeen,
    isHere: () => false,
    isStoreUp: () => isStoreUp,
  });
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

test("each look tells of all wakes, also of those that are due much later", async () => {
  keys = [wakeKey("due", start), wakeKey("later", start + 600 * minute), "wakes/someone's own file"];
  watch.start();
  await vi.advanceTimersByTimeAsync(0);
  expect([seen, woken]).toEqual([["due", "later"], ["due 05:10"]]);
});

test("who only wants to see the wakes that stand now has none served, and shares the listing with all who ask meanwhile", async () => {
  keys = [wakeKey("due", start)];
  for (let asked = 0; asked < 5; asked += 1) watch.see();
  keys = [wakeKey("due", start), wakeKey("put just now", start)].map((key) => key.replaceAll(" ", "-"));
  await vi.advanceTimersByTimeAsync(0);
  expect([seen, woken, lists]).toEqual([["due", "put-just-now"], [], 2]);
  failing.add("the list");
  watch.see();
  await vi.advanceTimersByTimeAsync(0);
  expect(lists).toBe(3);
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

test("a tenant that is due by several wakes counts once, and as served only if none of them failed", async () => {
  failing.add("broken");
  keys = ["acme", "broken"].flatMap((tenantId) => [
    wakeKey(tenantId, start - 60 * minute),
    wakeKey(tenantId, start),
  ]);
  expect(await watch.scan()).toEqual({ due: 2, served: 1 });
  expect(woken).toHaveLength(4);
});

test("whoever opens a tenant for a wake is told of all its wakes, also of those that are not due", async () => {
  keys = [wakeKey("acme", start), wakeKey("acme", start + 600 * minute), wakeKey("other", start)];
  await watch.scan();
  expect(told).toContainEqual(keys.slice(0, 2));
});

test("of a tenant that could be opened, and of one that was well for long, nothing says any more that it is postponed", async () => {
  const ofOpened = "postponed/acme/2026-11-23T10:00/2026-11-23T10:05";
  const forgotten = "postponed/other/2026-11-23T08:00/2026-11-23T09:00";
  keys = [wakeKey("acme", start), ofOpened, forgotten];
  await watch.scan();
  expect(keys).toEqual([wakeKey("acme", start)]);
});

test("a tenant that is damaged is woken ever more rarely, and keeps its wake", async () => {
  keys = [wakeKey("broken", start)];
  damaged.add("broken");
  watch.start();
  await vi.advanceTimersByTimeAsync(20 * minute);
  const minutes = woken.map((line) => Number(line.slice(-5, -3)) - 5);
  expect(minutes).toEqual([0, 2, 5, 11]);
  expect(keys).toContain(wakeKey("broken", start));
});

test("while the store is in trouble no tenant is taken for damaged", async () => {
  keys = [wakeKey("broken", start)];
  damaged.add("broken");
  isStoreUp = false;
  watch.start();
  await vi.advanceTimersByTimeAsync(minute);
  expect([woken.length > 5, keys.length]).toEqual([true, 1]);
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

test("a look on demand tells how many wakes were due and how many were served, and the next look is a minute later", async () => {
  keys = ["a", "b", "c"].map((tenantId) => wakeKey(tenantId, start));
  watch.start();
  await vi.advanceTimersByTimeAsync(50_000);
  failing.add("b");
  expect(await watch.scan()).toEqual({ due: 3, served: 2 });
  failing.clear();
  await vi.advanceTimersByTimeAsync(5_000);
  expect(lists).toBe(3);
  expect(await watch.scan()).toEqual({ due: 3, served: 3 });
  await vi.advanceTimersByTimeAsync(59_000);
  expect(lists).toBe(4);
  await vi.advanceTimersByTimeAsync(1_000);
  expect(lists).toBe(5);
});

test("a look that was under way before the call does not count, and all who call meanwhile share the next one", async () => {
  const late = Promise.withResolvers<void>();
  keys = [wakeKey("slow", start)];
  waitFor.set("slow", late.promise);
  watch.start();
  await vi.advanceTimersByTimeAsync(0);
  keys = [wakeKey("new", start)];
  const asked = [watch.scan(), watch.scan(), watch.scan()];
  await vi.advanceTimersByTimeAsync(0);
  expect([lists, woken]).toEqual([1, ["slow 05:10"]]);
  late.resolve();
  await vi.advanceTimersByTimeAsync(0);
  expect(await Promise.all(asked)).toEqual(Array.from({ length: 3 }, () => ({ due: 1, served: 1 })));
  expect([lists, woken]).toEqual([2, ["slow 05:10", "new 05:10"]]);
});

test("a look on demand fails if the store cannot be listed, and another one follows soon all the same", async () => {
  failing.add("the list");
  await expect(watch.scan()).rejects.toMatchObject({ code: "store_unavailable" });
  failing.clear();
  keys = [wakeKey("a", start)];
  await vi.advanceTimersByTimeAsync(5_000);
  expect(woken).toEqual(["a 05:15"]);
});

test("a look that was asked for when a stop comes is refused", async () => {
  const late = Promise.withResolvers<void>();
  keys = [wakeKey("slow", start)];
  waitFor.set("slow", late.promise);
  watch.start();
  await vi.advanceTimersByTimeAsync(0);
  const asked = watch.scan();
  const stopping = watch.stop();
  late.resolve();
  await expect(asked).rejects.toMatchObject({ code: "draining" });
  await expect(watch.scan()).rejects.toMatchObject({ code: "draining" });
  await stopping;
  expect([lists, vi.getTimerCount()]).toEqual([1, 0]);
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
