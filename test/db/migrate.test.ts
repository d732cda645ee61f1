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

test("a new file gets every migration, and history has no rowid", async () => {
  const connection = temporaryConnection();
  expect(await migrate(connection)).toEqual({ applied: schemaVersion() });
  const tables = await connection.read((tx) =>
    tx.all(
      "SELECT name, wr FROM pragma_table_list WHERE name IN ('runs', 'history', 'signals', 'meta') ORDER BY name",
    ),
  );
  expect(tables).toEqual([
    { name: "history", wr: 1 },
    { name: "meta", wr: 0 },
    { name: "runs", wr: 0 },
    { name: "signals", wr: 0 },
  ]);
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
