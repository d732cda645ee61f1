import { mkdtemp, open, readFile, rm, stat, truncate } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Database from "libsql";
import { afterEach, beforeEach, expect, test } from "vitest";
import { DirectoryStore } from "../../app/storage/directory-store.ts";
import { findLocalLoss, leaveWitness } from "../../app/storage/local-loss.ts";
import { noteShippedWal } from "../support/shipped-wal.ts";

let folder: string;
let path: string;
let database: Database.Database;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "holdfast-loss-"));
  path = join(folder, "tenant.db");
  database = new Database(path);
  database.exec("PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; CREATE TABLE kept (value TEXT)");
});
afterEach(async () => {
  database.close();
  await rm(folder, { recursive: true, force: true });
});

function write(rows: number): void {
  for (let row = 0; row < rows; row += 1) database.exec(`INSERT INTO kept VALUES ('${"x".repeat(1_000)}')`);
}

const loss = (): Promise<string | null> => findLocalLoss(path, new DirectoryStore(folder), null);

test("a file lacks nothing as long as it and its WAL are as far as their last witness, or farther", async () => {
  write(10);
  leaveWitness(path);
  expect(await loss()).toBe(null);
  write(10);
  expect(await loss()).toBe(null);
});

test("a WAL that is shorter than its last witness says lacks something, whatever earlier ones said", async () => {
  write(10);
  leaveWitness(path);
  write(10);
  leaveWitness(path);
  await truncate(`${path}-wal`, (await stat(`${path}-wal`)).size - 1);
  expect(await loss()).toBe("its WAL is shorter than it was");
});

test("a witness is replaced whole by one with fewer digits", async () => {
  write(30);
  leaveWitness(path);
  database.exec("PRAGMA wal_checkpoint(TRUNCATE)");
  leaveWitness(path);
  const { size: mainBytes } = await stat(path);
  const left: unknown = JSON.parse(await readFile(join(folder, "shipped.json"), "utf8"));
  expect(left).toEqual({ mainBytes, walBytes: 0, walSalt: null });
  expect(await loss()).toBe(null);
});

async function damageWal(at: number): Promise<void> {
  const wal = await open(`${path}-wal`, "r+");
  const byte = Buffer.alloc(1);
  await wal.read(byte, 0, 1, at);
  byte.writeUInt8(byte.readUInt8(0) ^ 1);
  await wal.write(byte, 0, 1, at);
  await wal.close();
}

test("a single wrong bit in what was shipped of the WAL is a loss, which SQLite would take for the WAL's end", async () => {
  write(10);
  leaveWitness(path);
  await noteShippedWal(path, 1);
  expect(await loss()).toBe(null);
  await damageWal((await stat(`${path}-wal`)).size - 1);
  expect(await loss()).toBe("its WAL is damaged");
});

test("a WAL whose head is damaged is a loss: SQLite would read none of it", async () => {
  write(10);
  leaveWitness(path);
  await noteShippedWal(path, 1);
  await damageWal(20);
  expect(await loss()).toBe("its WAL is damaged");
});

test("what a killed writer left half-written behind all that was shipped is no loss", async () => {
  write(10);
  leaveWitness(path);
  await noteShippedWal(path, 1);
  write(1);
  await damageWal((await stat(`${path}-wal`)).size - 1);
  expect(await loss()).toBe(null);
});

test("a WAL that was begun anew since has nothing that was shipped", async () => {
  write(10);
  leaveWitness(path);
  await noteShippedWal(path, 1);
  database.exec("PRAGMA wal_checkpoint(RESTART)");
  write(1);
  expect(await loss()).toBe(null);
  await noteShippedWal(path, 2);
  expect(await loss()).toBe("its WAL is damaged");
});
