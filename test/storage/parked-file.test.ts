import { existsSync, statSync } from "node:fs";
import { mkdir, mkdtemp, open, rm, utimes } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import Database from "libsql";
import { afterEach, beforeEach, expect, test } from "vitest";
import { DirectoryStore } from "../../app/storage/directory-store.ts";
import { FolderFiles } from "../../app/storage/folder-files.ts";
import { noteShippedWal } from "../support/shipped-wal.ts";

let folder: string;
let files: FolderFiles;
let path: string;
let store: DirectoryStore;
/** As one of the host's own that was closed before, and is not collected yet: the last to go deletes the WAL. */
let late: Database.Database;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "holdfast-parked-"));
  files = new FolderFiles(join(folder, "data"));
  store = new DirectoryStore(join(folder, "store"));
  path = files.path("acme", 1);
  await mkdir(dirname(path), { recursive: true });
  late = new Database(path);
  late.exec("PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; CREATE TABLE facts (fact TEXT)");
  late.exec("INSERT INTO facts VALUES ('a')");
});
afterEach(async () => {
  late.close();
  await rm(folder, { recursive: true, force: true });
});

const wal = (): string => `${path}-wal`;
const secondName = (): string => join(dirname(path), "parked.wal");

function facts(): readonly unknown[] {
  const database = new Database(path);
  const rows = database.prepare("SELECT fact FROM facts").all() as { readonly fact: string }[];
  database.close();
  return rows.map(({ fact }) => fact);
}

test("the WAL of a parked file goes with the last handle that was closed, and its second name stays", async () => {
  const parked = await files.setAside(path);
  late.close();
  expect([existsSync(wal()), existsSync(secondName())]).toEqual([false, true]);
  const taken = await files.takeBack(path, parked);
  if (taken.kind === "lost") throw new Error(taken.why);
  expect([existsSync(wal()), existsSync(secondName())]).toEqual([true, false]);
  taken.hold.release();
  expect(facts()).toEqual(["a"]);
});

test("a file that is taken back keeps its WAL until it is open, whenever its last handle of before goes", async () => {
  const parked = await files.setAside(path);
  const { ino, size } = statSync(wal());
  const taken = await files.takeBack(path, parked);
  late.close();
  if (taken.kind === "lost") throw new Error(taken.why);
  const now = statSync(wal());
  expect([now.ino, now.size]).toEqual([ino, size]);
  const next = new Database(path);
  next.exec("SELECT fact FROM facts");
  taken.hold.release();
  expect(existsSync(wal())).toBe(true);
  next.close();
});

test("a parked file lacks nothing, although its last handle of before goes while it is looked at", async () => {
  await files.setAside(path);
  const looking = files.findLoss(path, store, null);
  late.close();
  expect(await looking).toBe(null);
  expect(facts()).toEqual(["a"]);
});

test("a parked file whose last handle went before it is looked at lacks nothing, in the next life neither", async () => {
  await files.setAside(path);
  late.close();
  expect(await files.findLoss(path, store, null)).toBe(null);
  expect(facts()).toEqual(["a"]);
});

/** Killed between giving the WAL its name back and opening the file: both names, either, or a WAL that was moved into the file. */
test.each<[string, () => Promise<void>]>([
  ["with both names of its WAL", async () => {}],
  ["with the WAL's own name", () => rm(secondName())],
  ["with the WAL's second name", () => rm(wal())],
])("a parked file is whole in the next life %s", async (_, leave) => {
  await files.setAside(path);
  await leave();
  expect(await files.findLoss(path, store, null)).toBe(null);
  late.close();
  expect(facts()).toEqual(["a"]);
});

/** One wrong bit at the WAL's end, as a disk makes it: nothing else of the file tells. */
async function damageWal(at: Date): Promise<void> {
  const { size } = statSync(secondName());
  const file = await open(secondName(), "r+");
  const byte = Buffer.alloc(1);
  await file.read(byte, 0, 1, size - 1);
  byte.writeUInt8(byte.readUInt8(0) ^ 1);
  await file.write(byte, 0, 1, size - 1);
  await file.close();
  await utimes(secondName(), at, at);
}

test("a file whose WAL was damaged while it was parked is not taken back, and is found out in the next life too", async () => {
  await noteShippedWal(path, 1);
  const writtenAt = new Date("2026-01-01T00:00:00Z");
  await utimes(wal(), writtenAt, writtenAt);
  const parked = await files.setAside(path);
  await damageWal(writtenAt);
  const taken = await files.takeBack(path, parked);
  expect(taken).toEqual({ kind: "lost", why: "its WAL is damaged" });
  expect(await files.findLoss(path, store, null)).not.toBe(null);
  late.close();
  expect(await files.findLoss(path, store, null)).not.toBe(null);
});

test("a file that cannot be opened any more is not taken back", async () => {
  late.exec("PRAGMA wal_checkpoint(TRUNCATE); INSERT INTO facts VALUES ('b')");
  const parked = await files.setAside(path);
  late.close();
  const file = await open(path, "r+");
  await file.write(Buffer.alloc(100, 0xa5), 0, 100, 0);
  await file.close();
  expect(await files.takeBack(path, parked)).toEqual({
    kind: "lost",
    why: expect.stringContaining("not a database"),
  });
});
