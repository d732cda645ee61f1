import { mkdtemp, readFile, rm, stat, truncate } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Database from "libsql";
import { afterEach, beforeEach, expect, test } from "vitest";
import { DirectoryStore } from "../../app/storage/directory-store.ts";
import { findLocalLoss, leaveWitness } from "../../app/storage/local-loss.ts";

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
