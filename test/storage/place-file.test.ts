import { cp, mkdir, mkdtemp, readdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { zstdCompressSync } from "node:zlib";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { Claim } from "../../app/storage/claim.ts";
import {
  epochFile,
  epochFolder,
  newestLocalEpoch,
  unreleasedTenants,
  writeNote,
  type EpochNote,
  type LocalEpoch,
} from "../../app/storage/data-folder.ts";
import { TenantUnavailableError } from "../../app/storage/errors.ts";
import { FolderFiles } from "../../app/storage/folder-files.ts";
import { placeFile, type PlacedFile, type PlacePorts } from "../../app/storage/place-file.ts";
import type { LineageEntry, TenantRecord } from "../../app/storage/records.ts";

let dataFolder: string;

beforeEach(async () => {
  dataFolder = await mkdtemp(join(tmpdir(), "holdfast-place-"));
});

afterEach(() => rm(dataFolder, { recursive: true, force: true }));

function entry(epoch: number, changes: Partial<LineageEntry> = {}): LineageEntry {
  return {
    epoch,
    machine: "mine",
    from: null,
    openedAt: 1,
    closedAt: null,
    txid: null,
    schema: 1,
    ...changes,
  };
}

function marked(epoch: number, changes: Partial<LineageEntry> = {}): LineageEntry {
  return entry(epoch, { from: { epoch: 0, txid: 0 }, ...changes });
}

/** A claim by the Machine "mine" of the epoch after those in the lineage. */
function claimAfter(...lineage: LineageEntry[]): Claim {
  const epoch = (lineage.at(-1)?.epoch ?? 0) + 1;
  const rest = { nonce: "n", host: "h", region: "r", forkOf: null, erasedAt: null };
  const before: TenantRecord | undefined =
    lineage.length === 0 ? undefined : { ...rest, epoch: epoch - 1, lineage };
  const value: TenantRecord = { ...rest, epoch, lineage: [...lineage, entry(epoch)] };
  return { tenantId: "acme", epoch, record: { value, etag: "e" }, before };
}

/** A database with one table that says what it is. */
function makeDatabase(path: string, content: string): void {
  const database = new DatabaseSync(path);
  database.exec(`CREATE TABLE content (name TEXT); INSERT INTO content VALUES ('${content}')`);
  database.close();
}

function contentOf(path: string): unknown {
  const database = new DatabaseSync(path, { readOnly: true });
  const row = database.prepare("SELECT name FROM content").get();
  database.close();
  return row?.["name"];
}

async function makeLocal(epoch: number, note: Partial<EpochNote> = {}): Promise<void> {
  const whole = { bootId: "boot", from: { epoch: 0, txid: 0 }, released: null, ...note };
  await writeNote(dataFolder, "acme", epoch, whole);
  makeDatabase(epochFile(dataFolder, "acme", epoch), `local ${epoch}`);
  await mkdir(join(epochFolder(dataFolder, "acme", epoch), ".tenant.db-litestream/ltx"), { recursive: true });
}

function ports(changes: Partial<PlacePorts> = {}): PlacePorts {
  return {
    files: new FolderFiles(dataFolder),
    bootId: "boot",
    restore: async ({ path, outputPath }) => {
      makeDatabase(outputPath, `restored ${path}`);
      return { txid: 7 };
    },
    openSnapshot: async () => Promise.reject(new Error("no snapshot was made")),
    onSnapshotLoss: () => {},
    findLoss: async () => null,
    onLoss: () => {},
    stillOurs: async () => true,
    ...changes,
  };
}

function newestHere(): Promise<LocalEpoch | undefined> {
  return newestLocalEpoch(dataFolder, "acme");
}

/** Where the file came from, what is in it, and whether the store holds all of it. */
async function place(
  claim: Claim,
  changes: Partial<PlacePorts> = {},
): Promise<Pick<PlacedFile, "source" | "durable" | "from"> & { readonly content: unknown }> {
  const { path, source, durable, from } = await placeFile(claim, await newestHere(), ports(changes));
  expect(path).toBe(epochFile(dataFolder, "acme", claim.epoch));
  return { source, durable, from, content: source === "new" ? null : contentOf(path) };
}

async function epochsHere(): Promise<readonly string[]> {
  return (await readdir(join(dataFolder, "acme"))).toSorted();
}

test("a tenant without a marked epoch is new", async () => {
  const placed = await place(claimAfter());
  expect(placed).toEqual({ source: "new", durable: true, from: { epoch: 0, txid: 0 }, content: null });
});

test("unmarked epochs are ignored: what they shipped is read by nobody", async () => {
  expect((await place(claimAfter(entry(1), entry(2)))).source).toBe("new");
  const { content } = await place(claimAfter(marked(1), entry(2), marked(3), entry(4, { machine: "other" })));
  expect(content).toBe("restored tenants/acme/e3");
});

interface WarmCase {
  readonly title: string;
  readonly note?: Partial<EpochNote>;
  readonly lineage: readonly LineageEntry[];
  readonly bootId?: string | null;
  /** Epoch of the local file. */
  readonly local?: number;
  readonly source: PlacedFile["source"];
  readonly durable?: boolean;
}

const released = { released: { txid: 5 } };
const other = { machine: "other" };

const cases: readonly WarmCase[] = [
  { title: "its own marked epoch was the last", lineage: [marked(2)], source: "local", durable: false },
  { title: "its own unmarked epoch was the last", lineage: [entry(2)], source: "local", durable: false },
  {
    title: "later epochs were this Machine's and unmarked",
    lineage: [marked(2), entry(3), entry(4)],
    source: "local",
    durable: false,
  },
  { title: "a later epoch was marked", lineage: [marked(2), marked(3)], source: "replica" },
  {
    title: "a later epoch was marked, with unmarked ones after it",
    lineage: [marked(2), marked(3), entry(4)],
    source: "replica",
  },
  {
    title: "another Machine claimed a later epoch, and did not mark it",
    lineage: [marked(2), entry(3, other)],
    source: "replica",
  },
  {
    title: "another Machine claimed in between",
    lineage: [marked(2), entry(3, other), entry(4)],
    source: "replica",
  },
  {
    title: "the kernel was started anew",
    note: { bootId: "another" },
    lineage: [marked(2)],
    source: "replica",
  },
  { title: "the kernel's life cannot be told", bootId: null, lineage: [marked(2)], source: "replica" },
  {
    title: "neither now nor then the kernel's life could be told",
    note: { bootId: null },
    bootId: null,
    lineage: [marked(2)],
    source: "replica",
  },
  { title: "its epoch was another Machine's", lineage: [marked(2, other)], source: "replica" },
  { title: "its epoch is not in the lineage", lineage: [marked(1), entry(3)], source: "replica" },
  { title: "its epoch is later than the tenant's", local: 9, lineage: [marked(2)], source: "replica" },
  {
    title: "it was released and nobody came after",
    note: released,
    lineage: [marked(2, { txid: 5 })],
    source: "local",
    durable: true,
  },
  {
    title: "it was released, and a later epoch was marked",
    note: released,
    lineage: [marked(2, { txid: 5 }), marked(3)],
    source: "replica",
  },
  {
    title: "it was released at another txid than the record says",
    note: released,
    lineage: [marked(2, { txid: 6 })],
    source: "replica",
  },
  {
    title: "it was released unwritten, and is what the newest marked epoch holds",
    note: { from: { epoch: 1, txid: 4 }, released: { txid: null } },
    lineage: [marked(1, { txid: 4 }), entry(3)],
    source: "local",
    durable: true,
  },
  {
    title: "it was released unwritten, and another epoch was marked since",
    note: { from: { epoch: 1, txid: 4 }, released: { txid: null } },
    lineage: [marked(1, { txid: 4 }), marked(3)],
    source: "replica",
  },
];

test.each(cases)("a file of epoch 2 here, and $title: from $source", async (one) => {
  const { note, lineage, bootId, local, source, durable } = one;
  await makeLocal(local ?? 2, note);
  const placed = await place(claimAfter(...lineage), bootId === undefined ? {} : { bootId });
  expect(placed.source).toBe(source);
  expect(placed.durable).toBe(durable ?? true);
  expect(await epochsHere()).toEqual([`e${(lineage.at(-1)?.epoch ?? 0) + 1}`]);
});

test("a file that is kept moves with its WAL, without Litestream's metadata, and is no released one any more", async () => {
  await makeLocal(2, released);
  const wal = join(epochFolder(dataFolder, "acme", 2), "tenant.db-wal");
  await writeFile(wal, "");
  await place(claimAfter(marked(2, { txid: 5 })));
  const names = await readdir(epochFolder(dataFolder, "acme", 3));
  expect(names).toContain("tenant.db-wal");
  expect(names).not.toContain(".tenant.db-litestream");
  expect((await newestLocalEpoch(dataFolder, "acme"))?.note.released).toBe(null);
});

test("the mark of a kept file tells the marked epoch that it went on from, at its last known txid", async () => {
  await makeLocal(2, released);
  expect((await place(claimAfter(marked(2, { txid: 5 })))).from).toEqual({ epoch: 2, txid: 5 });
  expect((await place(claimAfter(marked(2), entry(3)))).from).toEqual({ epoch: 2, txid: 5 });
  expect((await place(claimAfter(marked(2), marked(4)))).from).toEqual({ epoch: 4, txid: null });
});

test("a keeping that was cut off, before or after the rename, goes on from the same", async () => {
  await makeLocal(2, { from: { epoch: 2, txid: 5 } });
  const first = await place(claimAfter(marked(2, { txid: 5 }), entry(3)));
  expect(first).toMatchObject({ source: "local", from: { epoch: 2, txid: 5 }, durable: false });
  await rename(epochFolder(dataFolder, "acme", 4), epochFolder(dataFolder, "acme", 3));
  const second = await place(claimAfter(marked(2, { txid: 5 }), entry(3), entry(4)));
  expect(second).toMatchObject({ source: "local", from: { epoch: 2, txid: 5 }, durable: false });
});

test("a file without its note, or with half of one, is not used", async () => {
  await makeLocal(2);
  await writeFile(join(epochFolder(dataFolder, "acme", 2), "epoch.json"), '{"bootId":');
  expect((await place(claimAfter(marked(2)))).source).toBe("replica");
});

test("a note without its file is not used, and an older whole one is", async () => {
  await makeLocal(2);
  await writeNote(dataFolder, "acme", 3, { bootId: "boot", from: { epoch: 2, txid: null }, released: null });
  expect((await place(claimAfter(marked(2), entry(3)))).content).toBe("local 2");
});

test("a file that stands where a new tenant's would be, from another store, is not taken for it", async () => {
  await makeLocal(1);
  const { path, source } = await placeFile(claimAfter(), await newestHere(), ports());
  expect(source).toBe("new");
  await expect(stat(path)).rejects.toThrow("ENOENT");
});

test("a file that stands where a restored one would be is not taken for it", async () => {
  await makeLocal(3);
  expect((await place(claimAfter(marked(2)))).content).toBe("restored tenants/acme/e2");
});

test("a marked epoch whose replica is missing is an error, never an empty file and never an older epoch", async () => {
  const asked: string[] = [];
  const restore: PlacePorts["restore"] = async ({ path }) => {
    asked.push(path);
    throw new Error("there is no backup");
  };
  const claim = claimAfter(marked(1), marked(2), entry(3));
  const placing = place(claim, { restore });
  await expect(placing).rejects.toThrow(TenantUnavailableError);
  await expect(placing).rejects.toThrow(/"acme" could not be restored from epoch 2: there is no backup/);
  expect(asked).toEqual(["tenants/acme/e2"]);
});

test("as long as nothing better was restored, an old file stays, and failed tries leave nothing", async () => {
  await makeLocal(2, { bootId: "another" });
  const restore: PlacePorts["restore"] = async ({ outputPath }) => {
    await writeFile(outputPath, "half of it");
    throw new Error("cut off");
  };
  const lineage = [marked(2)];
  for (let tries = 0; tries < 5; tries += 1) {
    await expect(place(claimAfter(...lineage), { restore })).rejects.toThrow("cut off");
    lineage.push(entry(3 + tries));
  }
  expect(await epochsHere()).toEqual(["e2"]);
  expect((await place(claimAfter(...lineage))).source).toBe("replica");
  expect(await epochsHere()).toEqual(["e8"]);
});

test("a replica that ends before the txid that was recorded at the release is refused", async () => {
  const claim = claimAfter(marked(2, { txid: 8 }));
  await expect(place(claim)).rejects.toThrow(/ends at txid 7; its record says 8/);
  expect((await place(claimAfter(marked(2, { txid: 7 })))).from).toEqual({ epoch: 2, txid: 7 });
});

test.each([
  ["was cut off", Object.assign(new Error("it was killed"), { isPassing: true }), null],
  ["found no room on the disk", Object.assign(new Error("no space left"), { code: "ENOSPC" }), null],
  ["found a gap", new Error("a transaction is missing"), "replica"],
])("a restore that %s says whether the replica is damaged", async (_what, error, damage) => {
  const restore: PlacePorts["restore"] = () => Promise.reject(error);
  await expect(place(claimAfter(marked(2)), { restore })).rejects.toMatchObject({ damage });
});

test("a restored file that is damaged is refused, and is not left to be used later", async () => {
  const restore: PlacePorts["restore"] = async ({ outputPath }) => {
    await writeFile(outputPath, Buffer.alloc(8_192, 7));
    return { txid: 7 };
  };
  await expect(place(claimAfter(marked(2)), { restore })).rejects.toThrow(/damaged/);
  expect(await epochsHere()).toEqual([]);
});

/** A claim of a tenant whose newest epoch was closed with a snapshot. */
function claimWithSnapshot(): Claim {
  const claim = claimAfter(marked(2, { closedAt: 3, txid: 7 }));
  const snapshot = { format: 1, epoch: 2, txid: 7, key: "k", sha256: "s", bytes: 1, keyId: null };
  return { ...claim, before: { ...(claim.before as TenantRecord), snapshot } };
}

test("a snapshot is checked like a restored file: a damaged one is told of, and the replica is used", async () => {
  makeDatabase(join(dataFolder, "whole.db"), "snapshot");
  const path = join(dataFolder, "whole.db");
  const whole = zstdCompressSync(await readFile(path));
  const good = await place(claimWithSnapshot(), { openSnapshot: async () => whole });
  expect(good).toMatchObject({ source: "snapshot", content: "snapshot", from: { epoch: 2, txid: 7 } });
  const damaged = zstdCompressSync((await readFile(path)).fill(7, 100));
  const losses: string[] = [];
  const placed = await place(claimWithSnapshot(), {
    bootId: "another",
    openSnapshot: async () => damaged,
    onSnapshotLoss: (why) => losses.push(why),
  });
  expect(placed).toMatchObject({ source: "replica", content: "restored tenants/acme/e2" });
  expect(losses).toEqual([expect.stringContaining("damaged")]);
});

test("a restore that another host's claim has overtaken is void", async () => {
  const overtaken = place(claimAfter(marked(2)), { stillOurs: async () => false });
  await expect(overtaken).rejects.toThrow(/claimed by another host while it was restored/);
  expect(await epochsHere()).toEqual([]);
});

test("a tenant is looked for after a restart exactly if its newest file was not released", async () => {
  await makeLocal(2);
  await makeLocal(3, released);
  expect(await unreleasedTenants(dataFolder)).toEqual([]);
  await makeLocal(4);
  expect(await unreleasedTenants(dataFolder)).toEqual(["acme"]);
});

test("a folder that can be no tenant's, such as a volume's lost+found, is passed over", async () => {
  await makeLocal(4);
  await cp(join(dataFolder, "acme"), join(dataFolder, "lost+found"), { recursive: true });
  expect(await unreleasedTenants(dataFolder)).toEqual(["acme"]);
});
