import { setTimeout as delay } from "node:timers/promises";
import Database from "libsql";

// Takes the write lock of the file for a millisecond or two, over and over, until its standard input ends. It commits
// nothing, as a second writer must not, and checkpoints nothing.
const [, , path = ""] = process.argv;
const database = new Database(path);
database.exec("PRAGMA wal_autocheckpoint = 0; PRAGMA busy_timeout = 50");
const stopping = new AbortController();
process.stdin.on("end", () => {
  stopping.abort();
});
process.stdin.resume();
while (!stopping.signal.aborted) {
  try {
    database.exec("BEGIN IMMEDIATE");
    await delay(1);
    database.exec("ROLLBACK");
  } catch (error) {
    if (!(error instanceof Database.SqliteError && error.code.startsWith("SQLITE_BUSY"))) throw error;
  }
  await delay(4);
}
database.close();
