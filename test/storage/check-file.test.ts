import { copyFile, mkdtemp, open, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { afterEach, beforeEach, expect, test } from "vitest";
import { connect } from "../../db/connect.ts";
import { migrate } from "../../db/migrate.ts";
import { checkFile } from "../../app/storage/check-file.ts";
import { TenantUnavailableError } from "../../app/storage/errors.ts";

let folder: string;
let path: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "holdfast-check-"));
  path = join(folder, "tenant.db");
  const connection = connect(join(folder, "source.db"));
  await migrate(connection);
  await connection.close();
  // A copy in one file, that no handle of this process knows.
  const source = new DatabaseSync(join(folder, "source.db"));
  source.exec(`VACUUM INTO '${path}'`);
  source.close();
  fill("ok", [1, 2, 3]);
});

afterEach(() => rm(folder, { recursive: true, force: true }));

/** A run with history rows of the given numbers. */
function fill(run: string, seqs: readonly number[], { withRun = true, bytes = 10 } = {}): void {
  const database = new DatabaseSync(path);
  if (withRun)
    database
      .prepare(
        "INSERT INTO runs (id, agent, status, durability, created_at) VALUES (?, 'a', 'running', 'local', 1)",
      )
      .run(run);
  const insert = database.prepare(
    "INSERT INTO history (run_id, seq, kind, path, name, occurrence, attempt, at, data) VALUES (?, ?, 'step.completed', '', 's', 0, 1, 1, ?)",
  );
  for (const seq of seqs) insert.run(run, seq, Buffer.alloc(bytes, seq));
  database.close();
}

async function check(): Promise<void> {
  await checkFile(path, (await stat(path)).size, "node");
}

async function overwrite(at: number, bytes: number): Promise<void> {
  const file = await open(path, "r+");
  await file.write(Buffer.alloc(bytes, 0xa5), 0, bytes, at);
  await file.close();
}

test("a whole file passes, and nothing is left beside it", async () => {
  await check();
  await expect(stat(`${path}-wal`)).rejects.toThrow("ENOENT");
});

test("a file without Holdfast's tables passes: it may be one that was never migrated", async () => {
  await rm(path);
  new DatabaseSync(path).close();
  await expect(check()).resolves.toBe(undefined);
});

test.each([
  ["that begins late", [2, 3]],
  ["with a hole", [1, 2, 4]],
])("a history %s is refused, and its run is named", async (_what, seqs) => {
  fill("broken", seqs);
  await expect(check()).rejects.toThrow(TenantUnavailableError);
  await expect(check()).rejects.toThrow(/the history of run "broken" has a gap/);
});

test("history of a run that is not there is refused", async () => {
  fill("nobody", [1], { withRun: false });
  await expect(check()).rejects.toThrow(/history of run "nobody", which is not there/);
});

test("flipped bytes are found, wherever they are in the pages of a table or an index", async () => {
  fill(
    "big",
    Array.from({ length: 40 }, (_row, index) => index + 1),
    { bytes: 3_000 },
  );
  const whole = join(folder, "whole.db");
  await copyFile(path, whole);
  const { size } = await stat(path);
  const unseen: number[] = [];
  // The head of each page: what lies inside a value is not SQLite's to check.
  for (let page = 1; page < size / 4_096; page += 1) {
    await copyFile(whole, path);
    await overwrite(page * 4_096, 8);
    await check().then(
      () => unseen.push(page),
      () => {},
    );
  }
  // An overflow page has no head of its own but the number of the next one; the last of a chain has none to follow.
  expect(unseen.length).toBeLessThan(size / 4_096 / 4);
});

test("a file that is cut short, or is no database, is refused", async () => {
  fill(
    "big",
    Array.from({ length: 40 }, (_row, index) => index + 1),
    { bytes: 3_000 },
  );
  const { size } = await stat(path);
  const file = await open(path, "r+");
  await file.truncate(size / 2);
  await file.close();
  await expect(check()).rejects.toThrow(/damaged/);
  await writeFile(path, "this is no database, however long it is".repeat(300));
  await expect(check()).rejects.toThrow(/not a database/);
});

test("a big file is checked off the event loop, with the same result", async () => {
  fill(
    "big",
    Array.from({ length: 400 }, (_row, index) => index + 1),
    { bytes: 8_000 },
  );
  expect((await stat(path)).size).toBeGreaterThan(1024 * 1024);
  await check();
  fill("broken", [1, 3]);
  await expect(check()).rejects.toThrow(/the history of run "broken" has a gap/);
});
