import { DatabaseSync } from "node:sqlite";
import { Worker } from "node:worker_threads";
import { TenantUnavailableError } from "./errors.ts";

/** Below this a restored file is checked in full; above, SQLite's quick check leaves out the indexes' contents. */
const fullCheckBelowBytes = 32 * 1024 * 1024;
/** Below this the check takes less time than starting a thread for it (a few milliseconds). */
const inlineBelowBytes = 1024 * 1024;

/** Rows that no history may have: a run whose rows do not count 1, 2, 3, …, or a row of a run that is not there. */
const gapsInHistory = `SELECT run_id FROM history GROUP BY run_id HAVING COUNT(*) <> MAX(seq) OR MIN(seq) <> 1 LIMIT 1`;
const orphansInHistory = `SELECT run_id FROM history WHERE run_id NOT IN (SELECT id FROM runs) LIMIT 1`;

/** Checks a restored file that nobody else has open. Throws TenantUnavailableError with what is wrong. */
export async function checkFile(path: string, sizeBytes: number): Promise<void> {
  const full = sizeBytes < fullCheckBelowBytes;
  const wrong = sizeBytes < inlineBelowBytes ? findDamage(path, full) : await findDamageInThread(path, full);
  if (wrong !== null)
    throw new TenantUnavailableError(`The restored file is damaged: ${wrong}`, { retryAfterSeconds: 60 });
}

/**
 * What is wrong with the file, or null. By Node's own SQLite, whose `close()` closes: a `libsql` handle lives on until it
 * is collected, and the file, renamed meanwhile, would share its WAL index with nobody else.
 */
export function findDamage(path: string, full: boolean): string | null {
  const database = new DatabaseSync(path);
  try {
    const check = full ? "integrity_check" : "quick_check";
    const row = database.prepare(`PRAGMA ${check}(1)`).get() as Record<string, unknown>;
    if (row[check] !== "ok") return `${check}: ${String(row[check])}`;
    const hasHistory = database.prepare("SELECT 1 FROM sqlite_schema WHERE name = 'history'").get();
    if (hasHistory === undefined) return null;
    const gap = database.prepare(gapsInHistory).get() as { run_id: string } | undefined;
    if (gap !== undefined) return `the history of run "${gap.run_id}" has a gap`;
    const orphan = database.prepare(orphansInHistory).get() as { run_id: string } | undefined;
    return orphan === undefined ? null : `there is history of run "${orphan.run_id}", which is not there`;
  } catch (error) {
    return (error as Error).message;
  } finally {
    database.close();
  }
}

/** Off the event loop: a big file takes seconds, and other tenants are served meanwhile. */
function findDamageInThread(path: string, full: boolean): Promise<string | null> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(new URL("./check-file-thread.ts", import.meta.url), {
      workerData: { path, full },
    });
    worker.once("message", resolve);
    worker.once("error", reject);
    worker.once("exit", (code) => reject(new Error(`The thread that checks ${path} ended with ${code}.`)));
  });
}
