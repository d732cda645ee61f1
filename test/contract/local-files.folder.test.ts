import {
  existsSync,
  mkdirSync,
  openSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
  closeSync,
} from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import Database from "libsql";
import { afterEach } from "vitest";
import { DirectoryStore } from "../../app/storage/directory-store.ts";
import { FolderFiles } from "../../app/storage/folder-files.ts";
import { localFilesContract } from "./local-files.contract.ts";

const made: string[] = [];
afterEach(async () => {
  for (const folder of made.splice(0)) await rm(folder, { recursive: true, force: true });
});

localFilesContract("a folder", async () => {
  const folder = await mkdtemp(join(tmpdir(), "holdfast-files-"));
  made.push(folder);
  const walBefore = new Map<string, number>();
  return {
    files: new FolderFiles(join(folder, "data")),
    store: new DirectoryStore(join(folder, "store")),
    write: async (path, fact) => {
      walBefore.set(path, sizeOf(`${path}-wal`));
      const database = isScratch(path) ? new DatabaseSync(path) : openAsHost(path);
      database.exec("CREATE TABLE IF NOT EXISTS facts (fact TEXT)");
      database.prepare("INSERT INTO facts VALUES (?)").run(fact);
      database.close();
    },
    facts: async (path) => {
      if (!existsSync(path)) return null;
      const database = openAsHost(path);
      const rows = database.prepare("SELECT fact FROM facts ORDER BY rowid").all() as { fact: string }[];
      database.close();
      return rows.map(({ fact }) => fact);
    },
    shorten: async (path) => truncateSync(`${path}-wal`, walBefore.get(path)),
    damage: async (path) => {
      const database = openAsHost(path);
      database.exec("PRAGMA wal_checkpoint(TRUNCATE)");
      database.close();
      const file = openSync(path, "r+");
      writeSync(file, Buffer.alloc(64, 0xa5), 0, 64, sizeOf(path) - 4_096);
      closeSync(file);
    },
    noteShipped: async (path, txid) => {
      const notes = join(dirname(path), ".tenant.db-litestream/ltx/0");
      mkdirSync(notes, { recursive: true });
      const hex = txid.toString(16).padStart(16, "0");
      writeFileSync(join(notes, `${hex}-${hex}.ltx`), "");
    },
  };
});

/** As the host's own connection has it: the WAL stays when the process is gone. */
function openAsHost(path: string): Database.Database {
  const database = new Database(path);
  if (!isScratch(path)) database.exec("PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0");
  return database;
}

function isScratch(path: string): boolean {
  return path.endsWith("restoring.db");
}

function sizeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}
