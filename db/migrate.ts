import { fileURLToPath } from "node:url";
import { migrate as runMigrations } from "drizzle-orm/libsql/migrator";
import { readMigrationFiles } from "drizzle-orm/migrator";
import type { Connection } from "./connect.ts";
import { SchemaTooNewError } from "./errors.ts";

const ownFolder = fileURLToPath(new URL("migrations", import.meta.url));

let ownVersion: number | undefined;

/** How many migrations this code knows: the version of the schema that it works with. Read once: every opening asks. */
export function schemaVersion(): number {
  ownVersion ??= readMigrationFiles({ migrationsFolder: ownFolder }).length;
  return ownVersion;
}

/**
 * Brings the file to this code's schema; `applied` is how many migrations that took. All of them are one transaction. A file
 * that has them already is only read. Rejects with `SchemaTooNewError`, changing nothing, when the file has one that is not
 * in `folder`.
 */
export async function migrate(
  connection: Connection,
  folder: string = ownFolder,
): Promise<{ readonly applied: number }> {
  const known = readMigrationFiles({ migrationsFolder: folder }).map(({ folderMillis }) => folderMillis);
  const present = await appliedMigrations(connection);
  if (present.some((migration) => !known.includes(migration))) {
    throw new SchemaTooNewError(connection.path, { file: present.length, code: known.length });
  }
  const applied = known.length - present.length;
  if (applied > 0) await runMigrations(connection.db, { migrationsFolder: folder });
  return { applied };
}

/** Their creation times, by which Drizzle knows them; epoch milliseconds. */
async function appliedMigrations(connection: Connection): Promise<readonly number[]> {
  return connection.read((tx) => {
    const table = tx.get("SELECT 1 FROM sqlite_schema WHERE name = '__drizzle_migrations'");
    if (table === undefined) return [];
    return tx
      .all<{ created_at: number }>(
        "SELECT created_at FROM __drizzle_migrations ORDER BY created_at LIMIT 10000",
      )
      .map((row) => row.created_at);
  });
}
