import { cpSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { expect, test } from "vitest";
import { migrate, schemaVersion } from "../../db/migrate.ts";
import { otherUser, temporaryConnection, temporaryPath, walSize } from "./temporary-database.ts";

const ownMigrations = join(import.meta.dirname, "../../db/migrations");

/** A copy of the migrations with one more that runs `script`. */
function migrationsWithOneMore(script: string): string {
  const folder = join(dirname(temporaryPath()), "migrations");
  mkdirSync(folder);
  cpSync(ownMigrations, folder, { recursive: true });
  const journalPath = join(folder, "meta/_journal.json");
  const journal = JSON.parse(readFileSync(journalPath, "utf8")) as {
    entries: { idx: number; when: number; tag: string }[];
  };
  const last = journal.entries.at(-1);
  if (last === undefined) throw new Error("There are no migrations");
  journal.entries.push({ ...last, idx: last.idx + 1, when: last.when + 1, tag: "9999_more" });
  writeFileSync(journalPath, JSON.stringify(journal));
  writeFileSync(join(folder, "9999_more.sql"), script);
  return folder;
}

/** A copy of the migrations without those from `count` on. */
function firstMigrations(count: number): string {
  const folder = migrationsWithOneMore("");
  const journalPath = join(folder, "meta/_journal.json");
  const journal = JSON.parse(readFileSync(journalPath, "utf8")) as { entries: unknown[] };
  writeFileSync(journalPath, JSON.stringify({ ...journal, entries: journal.entries.slice(0, count) }));
  return folder;
}

test("a new file gets every migration", async () => {
  const connection = temporaryConnection();
  expect(await migrate(connection)).toEqual({ applied: schemaVersion() });
  const tables = await connection.read((tx) =>
    tx.all(
      "SELECT name FROM pragma_table_list WHERE name IN ('runs', 'history', 'signals', 'meta') ORDER BY name",
    ),
  );
  expect(tables).toEqual(["history", "meta", "runs", "signals"].map((name) => ({ name })));
});

test("a file whose history lies by key keeps every row of it, and then lies in the order of writing", async () => {
  const connection = temporaryConnection();
  await migrate(connection, firstMigrations(3));
  const insert = "INSERT INTO history VALUES (?, ?, 'step.completed', 'a:0', 'ä', 1, 2, 1700000000000, ?, ?)";
  await connection.write((on) => {
    for (const seq of [2, 1, 3]) on.run(insert, ["r2", seq, "key", new Uint8Array([0, seq, 255])]);
    on.run(insert, ["r1", 1, null, '{"clear":"text"}']);
  });
  const all = (order: string) =>
    connection.read((on) => on.all(`SELECT *, typeof(data) AS type FROM history ORDER BY ${order}`));
  const before = await all("run_id, seq");
  expect(await migrate(connection)).toEqual({ applied: schemaVersion() - 3 });
  expect(await all("run_id, seq")).toEqual(before);
  await connection.write((on) => on.run(insert, ["r0", 1, null, null]));
  expect((await all("rowid")).map(({ run_id: run }) => run)).toEqual(["r1", "r2", "r2", "r2", "r0"]);
  await expect(connection.write((on) => on.run(insert, ["r2", 3, null, null]))).rejects.toThrow(/UNIQUE/);
});

test("a run is found by its idempotency key without a look at every run", async () => {
  const connection = temporaryConnection();
  await migrate(connection);
  const plan = await connection.read((on) =>
    on.all<{ detail: string }>("EXPLAIN QUERY PLAN SELECT * FROM runs WHERE idempotency_key = ?", ["k"]),
  );
  expect(plan.map(({ detail }) => detail).join()).toContain("runs_idempotency_key");
});

test("a second migrate writes nothing at all", async () => {
  const path = temporaryPath();
  const holder = otherUser(path);
  const connection = temporaryConnection({}, path);
  await migrate(connection);
  // The file itself never changes while nobody checkpoints: what is written is in the WAL.
  const look = async () => ({
    wal: walSize(path),
    commits: connection.commits,
    changes: await connection.read((tx) => tx.get("SELECT total_changes() AS n")),
    version: holder
      .prepare("PRAGMA data_version")
      .all([])
      .map((row) => (row as { data_version: number }).data_version),
  });
  const before = await look();
  expect(await migrate(connection)).toEqual({ applied: 0 });
  expect(await look()).toEqual(before);
});

test("a file from a newer version is refused and left alone", async () => {
  const path = temporaryPath();
  const holder = otherUser(path);
  const newer = temporaryConnection({}, path);
  const folder = migrationsWithOneMore("CREATE TABLE later (x);");
  expect(await migrate(newer, folder)).toEqual({ applied: schemaVersion() + 1 });
  await newer.close();
  const before = walSize(path);
  const connection = temporaryConnection({}, path);
  await expect(migrate(connection)).rejects.toMatchObject({ code: "schema_too_new" });
  expect(walSize(path)).toBe(before);
  holder.exec("SELECT 1");
});

test("a migration that fails half-way leaves the file at the version before", async () => {
  const connection = temporaryConnection();
  await migrate(connection);
  const folder = migrationsWithOneMore(
    "CREATE TABLE later (x);\n--> statement-breakpoint\nCREATE TABLE runs (x);",
  );
  await expect(migrate(connection, folder)).rejects.toThrow("already exists");
  expect(
    await connection.read((tx) => tx.all("SELECT name FROM sqlite_schema WHERE name = 'later'")),
  ).toEqual([]);
  expect(await migrate(connection)).toEqual({ applied: 0 });
});

test("a migration without breakpoints is run to its end", async () => {
  const connection = temporaryConnection();
  const folder = migrationsWithOneMore("CREATE TABLE one (x); CREATE TABLE two (x);");
  await migrate(connection, folder);
  expect(await connection.read((tx) => tx.all("SELECT * FROM two"))).toEqual([]);
});

test("a migration that breaks a foreign key is refused, and foreign keys hold afterwards", async () => {
  const connection = temporaryConnection();
  await migrate(connection);
  const folder = migrationsWithOneMore(
    "CREATE TABLE a (id INTEGER PRIMARY KEY); CREATE TABLE b (a REFERENCES a); INSERT INTO b VALUES (1);",
  );
  await expect(migrate(connection, folder)).rejects.toThrow("breaks a foreign key");
  expect(await connection.read((tx) => tx.get("SELECT foreign_keys FROM pragma_foreign_keys"))).toEqual({
    foreign_keys: 1,
  });
});
