import { DatabaseSync } from "node:sqlite";
import { Worker } from "node:worker_threads";
import Database from "libsql";
import { TenantUnavailableError } from "./errors.ts";

/** Below this a restored file is checked in full; above, SQLite's quick check leaves out the indexes' contents. */
const fullCheckBelowBytes = 32 * 1024 * 1024;
/** Below this the check takes 8 ms of the event loop at most, where starting a thread for it takes 160 ms of a processor. */
const inlineBelowBytes = 4 * 1024 * 1024;

/** Rows that no history may have: a run whose rows do not count 1, 2, 3, …, or a row of a run that is not there. */
const gapsInHistory = `SELECT run_id FROM history GROUP BY run_id HAVING COUNT(*) <> MAX(seq) OR MIN(seq) <> 1 LIMIT 1`;
const orphansInHistory = `SELECT run_id FROM history WHERE run_id NOT IN (SELECT id FROM runs) LIMIT 1`;

/**
 * Which SQLite looks at a file. A restored one is renamed afterwards: `node`, whose `close()` closes; a `libsql` handle
 * lives on until it is collected, and the file would share the WAL index of its scratch name with nobody else. One that
 * this process may have had open before: `libsql`, as two SQLites in one process would drop each other's locks.
 */
export type Inspector = "node" | "libsql";

/** Checks a file that is not in use. Throws TenantUnavailableError with what is wrong. */
export async function checkFile(path: string, sizeBytes: number, inspector: Inspector): Promise<void> {
  const look = { path, full: sizeBytes < fullCheckBelowBytes, inspector };
  const wrong = sizeBytes < inlineBelowBytes ? findDamage(look) : await findDamageInThread(look);
  if (wrong !== null)
    throw new TenantUnavailableError(`The file is damaged: ${wrong}`, {
      retryAfterSeconds: 60,
      damage: "replica",
    });
}

export interface Look {
  readonly path: string;
  /** SQLite's full check, or the quick one. */
  readonly full: boolean;
  readonly inspector: Inspector;
}

/** What is wrong with the file, or null. */
export function findDamage({ path, full, inspector }: Look): string | null {
  const database = inspector === "node" ? new DatabaseSync(path) : new Database(path);
  const first = (sql: string): Record<string, unknown> | undefined =>
    database.prepare(sql).get() as Record<string, unknown> | undefined;
  try {
    const check = full ? "integrity_check" : "quick_check";
    const found = first(`PRAGMA ${check}(1)`)?.[check];
    if (found !== "ok") return `${check}: ${String(found)}`;
    if (first("SELECT 1 FROM sqlite_schema WHERE name = 'history'") === undefined) return null;
    const gap = first(gapsInHistory);
    if (gap !== undefined) return `the history of run "${String(gap["run_id"])}" has a gap`;
    const orphan = first(orphansInHistory);
    return orphan === undefined
      ? null
      : `there is history of run "${String(orphan["run_id"])}", which is not there`;
  } catch (error) {
    return (error as Error).message;
  } finally {
    database.close();
  }
}

/** Off the event loop: a big file takes seconds, and other tenants are served meanwhile. */
function findDamageInThread(look: Look): Promise<string | null> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(new URL("./check-file-thread.ts", import.meta.url), { workerData: look });
    worker.once("message", resolve);
    worker.once("error", reject);
    worker.once("exit", (code) =>
      reject(new Error(`The thread that checks ${look.path} ended with ${code}.`)),
    );
  });
}
