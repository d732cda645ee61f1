import { randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Database from "libsql";
import { uuidv7 } from "uuidv7";
import { connect } from "../../db/connect.ts";
import { migrate } from "../../db/migrate.ts";

/** What a step's result of 200 bytes of text is in the file: JSON adds two, sealing 29. */
const sealedBytes = 231;
const rowsPerRun = 10;

/** The floor: our own table of history in a file of its own, written by nothing but prepared statements. */
export interface RawFile {
  /** Inserts as many rows, `batch` a transaction; gives the seconds that each transaction took, in order. */
  insert(rows: number, batch: number): readonly number[];
  /** Reads the rows of history, a page at a time; gives how many there were. */
  readHistory(pageRows: number): number;
  remove(): Promise<void>;
}

export async function makeRawFile(): Promise<RawFile> {
  const folder = await mkdtemp(join(tmpdir(), "holdfast-bench-raw-"));
  const path = join(folder, "raw.db");
  const connection = connect(path);
  await migrate(connection);
  await connection.close();
  const database = new Database(path);
  // As the worker has it; journal_mode is kept in the file.
  database.exec("PRAGMA synchronous = NORMAL; PRAGMA wal_autocheckpoint = 0");
  const insertRow = database.prepare(
    "INSERT INTO history (run_id, seq, kind, path, name, occurrence, attempt, at, key_id, data) VALUES (?,?,?,?,?,?,?,?,?,?)",
  );
  const page = database.prepare(
    "SELECT * FROM history WHERE (run_id, seq) > (?, ?) ORDER BY run_id, seq LIMIT ?",
  );
  const data = randomBytes(sealedBytes);
  let runId = uuidv7();
  let written = 0;
  return {
    insert(rows, batch) {
      const seconds: number[] = [];
      for (let done = 0; done < rows; done += batch) {
        const begunAt = performance.now();
        database.exec("BEGIN IMMEDIATE");
        for (let i = 0; i < batch; i += 1) {
          if (written % rowsPerRun === 0) runId = uuidv7();
          written += 1;
          insertRow.run([runId, written, "step.completed", "", "s", 0, 1, Date.now(), "1", data]);
        }
        database.exec("COMMIT");
        seconds.push((performance.now() - begunAt) / 1_000);
      }
      return seconds;
    },
    readHistory(pageRows) {
      let count = 0;
      let last: { readonly run_id: string; readonly seq: number } = { run_id: "", seq: 0 };
      for (;;) {
        const rows = page.all([last.run_id, last.seq, pageRows]) as (typeof last)[];
        count += rows.length;
        const next = rows.at(-1);
        if (next === undefined || rows.length < pageRows) return count;
        last = next;
      }
    },
    async remove() {
      database.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** Rows a second into a fresh file, `batch` a transaction. */
export async function rawRowsPerSecond(rows: number, batch: number): Promise<number> {
  const file = await makeRawFile();
  try {
    const seconds = file.insert(rows, batch).reduce((sum, each) => sum + each, 0);
    return rows / seconds;
  } finally {
    await file.remove();
  }
}
