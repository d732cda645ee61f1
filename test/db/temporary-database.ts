import { mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Database from "libsql";
import { onTestFinished } from "vitest";
import { connect } from "../../db/connect.ts";
import type { Connection, ConnectOptions } from "../../db/connect.ts";

/** A path for a database in a folder of its own, which is removed when the test has ended. */
export function temporaryPath(): string {
  const folder = mkdtempSync(join(tmpdir(), "holdfast-db-"));
  onTestFinished(() => {
    rmSync(folder, { recursive: true, force: true });
  });
  return join(folder, "tenant.db");
}

/** A connection that is closed when the test has ended. */
export function temporaryConnection(options?: ConnectOptions, path: string = temporaryPath()): Connection {
  const connection = connect(path, options);
  onTestFinished(() => connection.close());
  return connection;
}

/** Another user of the same file, as Litestream is: it does not wait, and does not checkpoint by itself. */
export function otherUser(path: string): Database.Database {
  const database = new Database(path);
  onTestFinished(() => {
    database.close();
  });
  database.exec("PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; PRAGMA busy_timeout = 0");
  return database;
}

export function walSize(path: string): number {
  return statSync(`${path}-wal`, { throwIfNoEntry: false })?.size ?? 0;
}
