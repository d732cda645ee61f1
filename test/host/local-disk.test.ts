import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { LocalDisk } from "../../app/host/local-disk.ts";

let dataFolder: string;

beforeEach(async () => {
  dataFolder = await mkdtemp(join(tmpdir(), "holdfast-disk-"));
});

afterEach(() => rm(dataFolder, { recursive: true, force: true }));

async function close(disk: LocalDisk, tenantId: string, how: "parked" | "released"): Promise<void> {
  await mkdir(join(dataFolder, tenantId), { recursive: true });
  await writeFile(join(dataFolder, tenantId, "file"), "bytes");
  await disk.closed(tenantId, how);
}

test("while the store is down a full disk costs no parked tenant its place; released files still go", async () => {
  let isStoreUp = false;
  const evicted: string[] = [];
  const disk = new LocalDisk({
    dataFolder,
    maxBytes: 1,
    openBytes: async () => 0,
    isInUse: () => false,
    isStoreUp: () => isStoreUp,
    evict: async (tenantId) => evicted.push(tenantId) > 0,
  });
  await close(disk, "parked", "parked");
  await close(disk, "released", "released");
  expect(evicted).toEqual(["released"]);
  isStoreUp = true;
  await disk.keep();
  expect([evicted, disk.evictions]).toEqual([["released", "parked"], 2]);
});
