import { mkdir, mkdtemp, readdir, rm, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, expect, test } from "vitest";
import { DirectoryStore } from "../../app/storage/directory-store.ts";
import { StoreUnavailableError } from "../../app/storage/object-store.ts";
import { StoreWorker } from "../contract/store-worker.ts";

let base = "";
let folder = "";
let workers: StoreWorker[] = [];
beforeEach(async () => {
  base = await mkdtemp(join(tmpdir(), "holdfast-directory-test-"));
  folder = join(base, "store");
});
afterEach(async () => {
  await Promise.all(workers.map((worker) => worker.kill()));
  workers = [];
  await rm(base, { recursive: true, force: true });
});

test("a process killed in the middle of conditional puts leaves no lock and no torn object", async () => {
  const seed = Math.trunc(Math.random() * 2 ** 31);
  const pauseMs = (round: number): number => ((seed >>> (round % 20)) * 7 + round * 13) % 60;
  const store = new DirectoryStore(folder, { lockWaitMs: 30_000 });
  const bytes = 700_000;
  for (let round = 0; round < 12; round++) {
    const worker = await StoreWorker.open(`file:${folder}`, { baseDir: base });
    workers.push(worker);
    await worker.ask({ do: "hammer", key: "hosts/record", bytes });
    await sleep(pauseMs(round));
    await worker.kill();
    const found = await store.get("hosts/record");
    const text = Buffer.from(found?.body ?? []).toString();
    expect(text.length, `seed ${seed}, round ${round}`).toBe(bytes);
    expect(text, `seed ${seed}, round ${round}`).toBe((text[0] ?? "").repeat(bytes));
    await store.put("hosts/record", "z".repeat(bytes), { ifMatch: found?.etag ?? "" });
    expect(await store.list("")).toEqual(["hosts/record"]);
  }
}, 120_000);

test("the lock of a process that was killed while it held it is free at once", async () => {
  const store = new DirectoryStore(folder, { lockWaitMs: 300 });
  await store.put("a", "1");
  const worker = new StoreWorker();
  workers.push(worker);
  await worker.ask({ do: "hold-lock", directory: folder });
  await expect(store.put("a", "2")).rejects.toThrow(/lock .* was held by others for 300 ms/);
  await expect(store.delete("a")).rejects.toThrow(StoreUnavailableError);
  expect(Buffer.from((await store.get("a"))?.body ?? []).toString()).toBe("1");
  await worker.kill();
  await store.put("a", "3");
  expect(Buffer.from((await store.get("a"))?.body ?? []).toString()).toBe("3");
}, 60_000);

test("waiting for the lock leaves the event loop free", async () => {
  const store = new DirectoryStore(folder, { lockWaitMs: 1_000 });
  const worker = new StoreWorker();
  workers.push(worker);
  await worker.ask({ do: "hold-lock", directory: folder });
  let ticks = 0;
  const ticking = setInterval(() => ticks++, 1);
  await expect(store.put("a", "1")).rejects.toThrow(StoreUnavailableError);
  clearInterval(ticking);
  expect(ticks).toBeGreaterThan(20);
}, 60_000);

test("files that Litestream wrote into the folder are listed and read like objects", async () => {
  const store = new DirectoryStore(folder);
  await store.put("tenants/acme/tenant.json", "{}");
  await mkdir(join(folder, "tenants/acme/e1/ltx/0"), { recursive: true });
  await writeFile(join(folder, "tenants/acme/e1/ltx/0/0000000000000001-0000000000000001.ltx"), "LTX1");
  expect(await store.list("tenants/acme/e1/")).toEqual([
    "tenants/acme/e1/ltx/0/0000000000000001-0000000000000001.ltx",
  ]);
  expect(await store.list("tenants/acme/")).toHaveLength(2);
});

test("the store's own files are never listed, and no key reaches them", async () => {
  const store = new DirectoryStore(folder);
  await store.put("a", "1");
  expect(await readdir(folder)).toContain(".store");
  expect(await store.list("")).toEqual(["a"]);
  expect(await store.list(".store/")).toEqual([]);
  await expect(store.put(".store/lock.db", "x")).rejects.toThrow(TypeError);
  await expect(store.get(".store/lock.db")).rejects.toThrow(TypeError);
});

test("bodies whose writer died are removed once they are old, and those being written stay", async () => {
  const incoming = join(folder, ".store", "incoming");
  await mkdir(incoming, { recursive: true });
  await writeFile(join(incoming, "old"), "x");
  await utimes(join(incoming, "old"), 1, 1);
  await writeFile(join(incoming, "young"), "x");
  await new DirectoryStore(folder).put("a", "1");
  expect(await readdir(incoming)).toEqual(["young"]);
});

test("folders that hold no object any more are removed, except those above other objects", async () => {
  const store = new DirectoryStore(folder);
  await store.put("wakes/2026-11-02T10:15/acme", "1");
  await store.put("wakes/2026-11-02T10:16/acme", "1");
  await store.delete("wakes/2026-11-02T10:15/acme");
  expect(await readdir(join(folder, "wakes"))).toEqual(["2026-11-02T10:16"]);
  await store.delete("wakes/2026-11-02T10:16/acme");
  expect(await readdir(folder)).toEqual([".store"]);
});

test("puts and deletes in the same folder at once lose nothing", async () => {
  const store = new DirectoryStore(folder);
  for (let round = 0; round < 20; round++) {
    await Promise.all([
      store.put("wakes/minute/kept", "1"),
      store.put("wakes/minute/gone", "1").then(() => store.delete("wakes/minute/gone")),
      store.delete("wakes/minute/other"),
    ]);
    expect(await store.list("wakes/")).toEqual(["wakes/minute/kept"]);
    await store.delete("wakes/minute/kept");
  }
});

test("a store that was never written is empty, not unavailable", async () => {
  const store = new DirectoryStore(join(folder, "deep"));
  expect(await store.get("a/b")).toBeUndefined();
  expect(await store.list("")).toEqual([]);
  await store.delete("a/b");
});

test("something else in the folder's place makes every call fail, and none find the store empty", async () => {
  await writeFile(folder, "a file");
  const store = new DirectoryStore(folder);
  await expect(store.get("a")).rejects.toThrow(StoreUnavailableError);
  await expect(store.list("")).rejects.toThrow(StoreUnavailableError);
  await expect(store.list("a/")).rejects.toThrow(StoreUnavailableError);
  await expect(store.delete("a")).rejects.toThrow(StoreUnavailableError);
  await expect(store.put("a", "1")).rejects.toThrow(/could not write "a"/);
});

test("a folder that was removed and made again is locked anew", async () => {
  const [one, two] = [new DirectoryStore(folder), new DirectoryStore(folder)];
  const first = await one.put("a", "1");
  await rm(folder, { recursive: true });
  await two.put("a", "2");
  await expect(one.put("a", "3", { ifMatch: first.etag })).rejects.toThrow(/was changed by someone else/);
  const bodies = Array.from({ length: 10 }, (_, index) => String(index));
  const creates = bodies.map((body, index) =>
    (index % 2 === 0 ? one : two).put("b", body, { ifNoneMatch: "*" }),
  );
  const answers = await Promise.allSettled(creates);
  expect(answers.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
});

test("Litestream is given the folder itself, or a link to it where it would change the name", async () => {
  expect(new DirectoryStore(folder).replicaUrl("tenants/acme/e1")).toBe(`file://${folder}/tenants/acme/e1`);
  const odd = new DirectoryStore(join(base, "my projects", "störe"));
  const replica = odd.replicaUrl("tenants/acme/e1");
  expect(replica).toMatch(/^file:\/\/\/[\w./-]+\/store\/tenants\/acme\/e1$/);
  expect(odd.replicaUrl("tenants/acme/e1")).toBe(replica);
  // What Litestream writes there is in the store.
  const path = replica.replace("file://", "");
  await mkdir(path, { recursive: true });
  await writeFile(join(path, "x.ltx"), "LTX1");
  expect(await odd.list("")).toEqual(["tenants/acme/e1/x.ltx"]);
  // A process that ends in the ordinary way does so itself; a test's worker does not.
  await rm(join(path, "../../../.."), { recursive: true });
});
