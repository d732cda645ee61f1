import { link, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { LocalDisk, type Eviction, type LocalDiskOptions } from "../../app/host/local-disk.ts";

let dataFolder: string;

beforeEach(async () => {
  dataFolder = await mkdtemp(join(tmpdir(), "holdfast-disk-"));
});

afterEach(() => rm(dataFolder, { recursive: true, force: true }));

/** Deletes what it is told to, and remembers what that was. */
function evictor(): { readonly evicted: string[]; readonly evict: LocalDiskOptions["evict"] } {
  const evicted: string[] = [];
  return {
    evicted,
    evict: async (tenantId) => {
      await rm(join(dataFolder, tenantId), { recursive: true });
      return evicted.push(tenantId) > 0 ? "deleted" : "kept";
    },
  };
}

function diskOf(options: Partial<LocalDiskOptions>): LocalDisk {
  const openFiles = (): ReadonlyMap<string, () => Promise<number>> => new Map();
  return new LocalDisk({
    dataFolder,
    maxBytes: 100,
    openFiles,
    isStoreUp: () => true,
    evict: evictor().evict,
    ...options,
  });
}

async function write(tenantId: string, bytes: number, name = "tenant.db"): Promise<string> {
  await mkdir(join(dataFolder, tenantId), { recursive: true });
  const path = join(dataFolder, tenantId, name);
  await writeFile(path, Buffer.alloc(bytes));
  return path;
}

async function close(
  disk: LocalDisk,
  tenantId: string,
  how: "parked" | "released",
  bytes = 5,
): Promise<void> {
  await write(tenantId, bytes);
  await disk.closed(tenantId, how);
}

test("while the store is down a full disk costs no parked tenant its place; released files still go", async () => {
  let isStoreUp = false;
  const { evicted, evict } = evictor();
  const disk = diskOf({ maxBytes: 1, isStoreUp: () => isStoreUp, evict });
  await close(disk, "parked", "parked");
  await close(disk, "released", "released");
  expect(evicted).toEqual(["released"]);
  isStoreUp = true;
  await disk.keep();
  expect([evicted, disk.evictions]).toEqual([["released", "parked"], 2]);
});

test("of released files the one that was used longest ago goes first, and no more than must", async () => {
  const { evicted, evict } = evictor();
  const disk = diskOf({ evict });
  await close(disk, "first", "released", 40);
  await close(disk, "second", "released", 40);
  disk.opened("first");
  await close(disk, "first", "released", 40);
  await close(disk, "third", "released", 40);
  expect([evicted, disk.bytes]).toEqual([["second"], 80]);
});

test("an open tenant counts with all that its folder holds, and with what it has grown by", async () => {
  const disk = diskOf({ openFiles: () => new Map([["acme", async () => 70]]) });
  await write("acme", 70);
  disk.opened("acme");
  await disk.look();
  await write("acme", 20, "notes of Litestream");
  await disk.look();
  expect(disk.bytes).toBe(90);
});

test("what the store lacked of a file stays until another host has the tenant, and may go then", async () => {
  const { evicted, evict } = evictor();
  let isKept = true;
  const disk = diskOf({ maxBytes: 1, evict: async (tenantId) => (isKept ? "kept" : await evict(tenantId)) });
  await close(disk, "acme", "released", 30);
  await disk.keep();
  expect([evicted, disk.bytes]).toEqual([[], 30]);
  isKept = false;
  disk.elsewhere("acme");
  await disk.keep();
  expect([evicted, disk.bytes]).toEqual([["acme"], 0]);
});

test("an open tenant counts as it was closed until it is looked at", async () => {
  const disk = diskOf({});
  await close(disk, "acme", "released", 30);
  disk.opened("acme");
  expect(disk.bytes).toBe(30);
});

test("a WAL that has two names while its tenant is parked counts once", async () => {
  const disk = diskOf({});
  const wal = await write("acme", 30, "tenant.db-wal");
  await link(wal, join(dataFolder, "acme", "parked.wal"));
  await close(disk, "acme", "parked", 50);
  expect(disk.bytes).toBe(80);
});

test("a tenant that is opened again while its files are being counted is none that could go", async () => {
  const { evicted, evict } = evictor();
  const disk = diskOf({ maxBytes: 1, evict });
  await write("acme", 30);
  const counting = disk.closed("acme", "parked");
  disk.opened("acme");
  await counting;
  await disk.keep();
  expect(evicted).toEqual([]);
});

test("opened, parked and evicted again and again, what counts is what is there", async () => {
  const disk = diskOf({});
  for (let turn = 0; turn < 50; turn += 1) {
    const tenantId = `tenant-${turn % 7}`;
    await close(disk, tenantId, turn % 3 === 0 ? "parked" : "released", 30);
    if (turn % 2 === 0) disk.opened(tenantId);
    await disk.look();
  }
  for (let n = 0; n < 7; n += 1) await close(disk, `tenant-${n}`, "released", 10);
  expect(disk.bytes).toBe(70);
});

test.each<[Eviction, number]>([
  ["deleted", 0],
  ["in-use", 40],
  ["kept", 40],
])("a file whose eviction ends as %s counts as long as it is there", async (eviction, bytes) => {
  let asked = 0;
  const disk = diskOf({
    maxBytes: 1,
    evict: async () => {
      asked += 1;
      return eviction;
    },
  });
  await close(disk, "acme", "released", 40);
  await disk.keep();
  expect([disk.bytes, asked]).toEqual([bytes, 1]);
});

test("a tenant that is used while it is to be evicted, and parked again, may go at another time", async () => {
  let evictions = 0;
  const disk = diskOf({
    maxBytes: 1,
    evict: async () => {
      evictions += 1;
      if (evictions > 1) return "deleted";
      disk.opened("acme");
      void disk.closed("acme", "parked");
      return "in-use";
    },
  });
  await close(disk, "acme", "parked", 40);
  await disk.keep();
  await disk.keep();
  expect([evictions, disk.bytes]).toEqual([2, 0]);
});

test("what is left of a tenant that went elsewhere while it was open here may go", async () => {
  const { evicted, evict } = evictor();
  const disk = diskOf({ evict });
  await write("acme", 60);
  disk.opened("acme");
  await disk.left("acme");
  expect(disk.bytes).toBe(60);
  await close(disk, "other", "parked", 60);
  expect([evicted, disk.bytes]).toEqual([["acme"], 60]);
});

test("what an earlier life left counts once, also of a tenant that is opened meanwhile", async () => {
  const disk = diskOf({});
  for (const tenantId of ["acme", "other"]) await write(tenantId, 30);
  const scanning = disk.scan();
  disk.opened("acme");
  await scanning;
  await close(disk, "acme", "parked", 30);
  expect(disk.bytes).toBe(60);
});
