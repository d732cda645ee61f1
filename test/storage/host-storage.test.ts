import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { DirectoryStore } from "../../app/storage/directory-store.ts";
import { openHostStorage, type HostStorage } from "../../app/storage/host-storage.ts";
import { superviseLitestream, type Litestream } from "../../app/storage/litestream.ts";
import { collectLog, litestreamBinary, until } from "../support/litestream.ts";
import { fenceNow } from "../support/storage.ts";

let folder: string;
let store: DirectoryStore;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "holdfast-host-storage-"));
  store = new DirectoryStore(join(folder, "store"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const started: Litestream[] = [];
const supervise: typeof superviseLitestream = async (options) => {
  const litestream = await superviseLitestream(options);
  started.push(litestream);
  return litestream;
};

function open(changes: Partial<Parameters<typeof openHostStorage>[0]> = {}, url = ""): Promise<HostStorage> {
  return openHostStorage({
    config: {
      store: { url: url || `file:${join(folder, "store")}`, settings: { baseDir: folder } },
      dataFolder: join(folder, "data"),
      litestream: litestreamBinary(),
      machine: "machine",
      advertise: "http://127.0.0.1:1",
      region: "local",
      hostTtlMs: 600,
    },
    environment: process.env,
    supervise,
    log: { ...collectLog(), fatal: () => {} },
    ...changes,
  });
}

async function hostStates(): Promise<readonly string[]> {
  const keys = await store.list("hosts/");
  const records = await Promise.all(keys.map((key) => store.get(key)));
  return records.map((record) => JSON.parse(Buffer.from(record?.body ?? "{}").toString()).state);
}

test("a host that ends before it has served anybody leaves no Litestream, no live record and no lock", async () => {
  const storage = await open();
  expect(storage.litestream.state.kind).toBe("up");
  expect(await hostStates()).toEqual(["live"]);
  await storage.giveUp();
  expect(storage.litestream.state.kind).toBe("stopped");
  expect(await hostStates()).toEqual(["fenced"]);
  const again = await open();
  await again.giveUp();
});

test("the store is asked, and who opened is told, while Litestream is still starting", async () => {
  const told = Promise.withResolvers<void>();
  const superviseSlowly: typeof supervise = async (options) => {
    options.onSpawned?.();
    await told.promise;
    await until("the host's record is there", async () => (await hostStates()).includes("live"));
    return supervise(options);
  };
  const storage = await open({ supervise: superviseSlowly, onWaiting: told.resolve });
  expect(storage.litestream.state.kind).toBe("up");
  await storage.giveUp();
});

test("a host whose Litestream does not start leaves no live record", async () => {
  const refused = open({ supervise: () => Promise.reject(new Error("it does not start")) });
  await expect(refused).rejects.toThrow("it does not start");
  expect(await hostStates()).toEqual(["fenced"]);
});

test("a host whose store cannot be used leaves no Litestream", async () => {
  await expect(open({}, "file:/dev/null/store")).rejects.toThrow(/HOLDFAST_STORE.*cannot be used/);
  expect(started.at(-1)?.state.kind).toBe("stopped");
});

test("a host that was fenced while the rest was loaded drops everything once there is something to drop", async () => {
  const storage = await open();
  await fenceNow(store, storage.hostRecord.identity.id);
  await expect(storage.hostRecord.proof()).rejects.toThrow("fenced");
  let told = 0;
  storage.onFenced(() => (told += 1));
  expect(told).toBe(1);
  await storage.giveUp();
});
