import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { TenantUnavailableError } from "../../app/storage/errors.ts";
import { StoreUnavailableError } from "../../app/storage/object-store.ts";
import { findRestorePoint } from "../../app/storage/restore-point.ts";
import { RestorePoints } from "../../app/storage/restore-points.ts";
import { FaultyStore } from "../fakes/faulty-store.ts";
import { MemoryStore } from "../fakes/memory-store.ts";
import { until } from "../support/litestream.ts";

let dataFolder: string;

beforeEach(async () => {
  dataFolder = await mkdtemp(join(tmpdir(), "holdfast-restore-points-"));
});

afterEach(() => rm(dataFolder, { recursive: true, force: true }));

test("while a thousand damaged tenants wait for their search, no other one joins them", async () => {
  const store = new FaultyStore(new MemoryStore());
  let over = 0;
  const log = { info: () => void (over += 1), warn: () => void (over += 1) };
  const restore = async () => Promise.reject(new Error("there is nothing to restore"));
  const points = new RestorePoints({ store, masterKeys: [], restore, dataFolder, log, now: Date.now });
  const explain = (index: number): void =>
    void points.explain(`t-${index}`, new TenantUnavailableError("It is damaged", { damage: "replica" }));
  const first = store.hold("get", "tenants/t-0/");
  explain(0);
  await first.arrived;
  for (let index = 1; index < 1_003; index += 1) explain(index);
  first.letThrough();
  await until("all are over", () => over === 1_000);
  explain(1_002);
  await until("one more is over", () => over === 1_001);
  expect(store.count("get", "tenants/t-1002/")).toBe(1);
});

test("a store that cannot be reached while restores are tried makes no older point the newest", async () => {
  const store = new FaultyStore(new MemoryStore());
  for (const txid of [1, 2, 3]) {
    const hex = txid.toString(16).padStart(16, "0");
    await store.put(`tenants/acme/e1/ltx/0/${hex}-${hex}.ltx`, "");
  }
  const tried: (number | undefined)[] = [];
  const search = findRestorePoint("acme", {
    store,
    masterKeys: [],
    scratchFolder: join(dataFolder, "scratch"),
    restore: async ({ txid }) => {
      tried.push(txid);
      store.down = true;
      throw new Error("it took too long");
    },
    signal: new AbortController().signal,
  });
  await expect(search).rejects.toThrow(StoreUnavailableError);
  expect(tried).toEqual([3]);
});
