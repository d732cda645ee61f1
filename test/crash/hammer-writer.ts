import { createHash } from "node:crypto";
import { setImmediate as turn } from "node:timers/promises";
import { sql } from "drizzle-orm";
import { connect } from "../../db/connect.ts";
import type { Statements } from "../../db/connect.ts";
import { migrate } from "../../db/migrate.ts";
import { meta } from "../../db/schema.ts";

/** What the writer says about itself in its last line. */
export interface HammerReport {
  readonly commits: number;
  readonly busyCount: number;
  readonly replacedCount: number;
  /** The longest that one write waited for its acknowledgement, queue and all. */
  readonly longestWaitMs: number;
}

/**
 * Writes to the file at `path` as fast as it can until its standard input ends, a dozen callers at a time, and prints
 * "first last" for every range of hammered rows that was acknowledged; at the end, "=" and a report as JSON.
 */
async function hammer(path: string): Promise<void> {
  const connection = connect(path);
  await migrate(connection);
  await connection.write((tx) => {
    tx.run(
      "CREATE TABLE hammered (id INTEGER PRIMARY KEY, caller INTEGER NOT NULL, digest TEXT NOT NULL, payload BLOB)",
    );
  });
  process.stdout.write("ready\n");

  const stopping = new AbortController();
  process.stdin.on("end", () => {
    stopping.abort();
  });
  process.stdin.resume();

  let nextId = 1;
  let longestWaitMs = 0;
  let acknowledged: string[] = [];
  const say = () => {
    if (acknowledged.length > 0) process.stdout.write(`${acknowledged.join("\n")}\n`);
    acknowledged = [];
  };
  const saying = setInterval(say, 20);

  async function call(caller: number): Promise<void> {
    for (let round = 0; !stopping.signal.aborted; round += 1) {
      const count = 1 + ((round * 7 + caller) % 16);
      const first = nextId;
      nextId += count;
      const startedAt = performance.now();
      await connection.write((tx) => {
        for (let id = first; id < first + count; id += 1) insertRow(tx, id, caller);
      });
      longestWaitMs = Math.max(longestWaitMs, performance.now() - startedAt);
      acknowledged.push(`${String(first)} ${String(first + count - 1)}`);
      if (round % 8 === 0) await touchOtherTables(caller, round);
      await turn();
    }
  }

  /** By Drizzle, in its three ways of writing, and a read that must see what this caller was told is committed. */
  async function touchOtherTables(caller: number, round: number): Promise<void> {
    const key = `caller ${String(caller)}`;
    const row = { key, value: String(round) };
    await connection.db.insert(meta).values(row).onConflictDoUpdate({ target: meta.key, set: row });
    await connection.db.transaction(async (tx) => {
      await tx.update(meta).set({ value: sql`${meta.value} || '.'` });
    });
    const seen = await connection.read((tx) =>
      tx.get<{ value: string }>("SELECT value FROM meta WHERE key = ?", [key]),
    );
    if (!seen?.value.startsWith(`${row.value}.`))
      throw new Error(`${key} wrote ${row.value}, read ${String(seen?.value)}`);
  }

  await Promise.all(Array.from({ length: 12 }, (_, caller) => call(caller)));
  clearInterval(saying);
  say();
  const { commits, busyCount, replacedCount } = connection;
  await connection.close();
  const report: HammerReport = {
    commits,
    busyCount,
    replacedCount,
    longestWaitMs: Math.round(longestWaitMs),
  };
  process.stdout.write(`=${JSON.stringify(report)}\n`);
}

function insertRow(tx: Statements, id: number, caller: number): void {
  const digest = createHash("sha256").update(String(id)).digest();
  const payload = Buffer.alloc(64 + (id % 640), digest);
  tx.run("INSERT INTO hammered (id, caller, digest, payload) VALUES (?, ?, ?, ?)", [
    id,
    caller,
    digest.toString("hex"),
    payload,
  ]);
}

const [, , path] = process.argv;
if (path !== undefined) await hammer(path);
