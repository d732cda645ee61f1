import { spawn } from "node:child_process";
import type { ChildProcessByStdio } from "node:child_process";
import { once } from "node:events";
import { mkdir, open } from "node:fs/promises";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import type { Readable, Writable } from "node:stream";
import { setTimeout as delay } from "node:timers/promises";
import { afterEach, beforeEach, expect, test } from "vitest";
import { RawConnection } from "../../db/raw-connection.ts";
import { restoreReplica } from "../../app/storage/litestream-restore.ts";
import { litestreamBinary, LitestreamWorkspace } from "../support/litestream.ts";
import type { HammerReport } from "./hammer-writer.ts";

const seconds = Number(process.env["HAMMER_SECONDS"] ?? 20);

let workspace: LitestreamWorkspace;
beforeEach(async () => {
  workspace = await LitestreamWorkspace.open();
});
afterEach(() => workspace.close());

test(
  "nothing is lost or stuck at full write speed while Litestream checkpoints, and the replica is equal row by row",
  async () => {
    const path = workspace.path("tenant/e1/tenant.db");
    const replicaUrl = workspace.replicaUrl("tenant/e1");
    await mkdir(dirname(path), { recursive: true });
    const { control } = await workspace.supervise();

    const writer = await startWriter(path);
    await control.register({ path, replicaUrl });
    const restarts = watchWalRestarts(`${path}-wal`);
    const locker = startChild("lock-taker.ts", path);
    await delay(seconds * 1000);
    locker.stdin.end();
    await exited(locker);
    writer.child.stdin.end();
    const report = await writer.finished;
    const walRestarts = await restarts.stop();

    const { txid, replicatedTxid } = await control.sync({ path, timeoutSeconds: 60 });
    expect(replicatedTxid).toBe(txid);
    const outputPath = workspace.path("restored.db");
    await restoreReplica({
      binary: litestreamBinary(),
      replicaUrl,
      outputPath,
      environment: process.env,
      log: workspace.log,
      timeoutMs: 60_000,
    });

    const replica = new RawConnection(outputPath, 10);
    const source = new RawConnection(path, 10);
    expect(replica.execute("PRAGMA integrity_check", []).rows).toEqual([["ok"]]);
    const rows = expectSameRows(source, replica);
    const missing = missingIds(replica, writer.acknowledged);
    source.close();
    replica.close();

    const facts = {
      seconds,
      ...report,
      walRestarts,
      rows,
      acknowledged: total(writer.acknowledged),
      missing: missing.length,
    };
    console.info(JSON.stringify(facts));
    expect(missing).toEqual([]);
    expect(facts.acknowledged).toBeGreaterThan(1000);
    expect(facts.replacedCount).toBe(0);
    expect(facts.walRestarts).toBeGreaterThanOrEqual(Math.min(5, seconds / 4));
    expect(facts.busyCount).toBeGreaterThanOrEqual(Math.min(200, seconds * 10));
  },
  seconds * 1000 + 180_000,
);

type Child = ChildProcessByStdio<Writable, Readable, null>;
/** Rows first to last, both included. */
type Range = readonly [first: number, last: number];

function startChild(script: string, path: string): Child {
  return spawn(process.execPath, [join(import.meta.dirname, script), path], {
    stdio: ["pipe", "pipe", "inherit"],
  });
}

async function exited(child: Child): Promise<void> {
  child.stdout.resume();
  if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
  if (child.exitCode !== 0)
    throw new Error(`A child ended with ${String(child.exitCode ?? child.signalCode)}`);
}

/** Resolves once the file has its tables. `acknowledged` grows as the writer says what was committed. */
async function startWriter(path: string): Promise<{
  readonly child: Child;
  readonly acknowledged: readonly Range[];
  readonly finished: Promise<HammerReport>;
}> {
  const child = startChild("hammer-writer.ts", path);
  const acknowledged: Range[] = [];
  const { promise: ready, resolve, reject } = Promise.withResolvers<undefined>();
  const finished = (async () => {
    let report: HammerReport | undefined;
    for await (const line of createInterface({ input: child.stdout })) {
      if (line === "ready") resolve(undefined);
      else if (line.startsWith("=")) report = JSON.parse(line.slice(1)) as HammerReport;
      else {
        const [first = 0, last = 0] = line.split(" ").map(Number);
        acknowledged.push([first, last]);
      }
    }
    await exited(child);
    if (report === undefined) throw new Error("The writer ended without a report");
    return report;
  })();
  finished.catch(reject);
  await ready;
  return { child, acknowledged, finished };
}

/** Counts how often the WAL began anew, by its first salt: SQLite counts that one up each time. */
function watchWalRestarts(walPath: string): { stop(): Promise<number> } {
  const watching = new AbortController();
  const watched = (async () => {
    const salts = new Set<number>();
    const header = Buffer.alloc(32);
    while (!watching.signal.aborted) {
      const file = await open(walPath).catch(() => undefined);
      const read = await file?.read(header, 0, 32, 0);
      await file?.close();
      if (read?.bytesRead === 32) salts.add(header.readUInt32BE(16));
      await delay(10);
    }
    return salts.size - 1;
  })();
  return {
    stop: () => {
      watching.abort();
      return watched;
    },
  };
}

/** Compares every row of every table but Litestream's own, and answers how many there were. */
function expectSameRows(source: RawConnection, replica: RawConnection): number {
  const listTables =
    "SELECT name, sql FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE '\\_litestream\\_%' ESCAPE '\\' ORDER BY name";
  const tables = source.execute(listTables, []).rows;
  expect(replica.execute(listTables, []).rows).toEqual(tables);
  let compared = 0;
  for (const [name] of tables) {
    // Rows are read by their rowid, since an offset is slow.
    let after = 0;
    for (;;) {
      const page = `SELECT rowid, * FROM "${String(name)}" WHERE rowid > ${String(after)} ORDER BY rowid LIMIT 5000`;
      const wanted = source.execute(page, []).rows;
      const found = replica.execute(page, []).rows;
      const different = wanted.find((row, i) => !isSameRow(row, found[i]));
      expect({ table: name, different, rows: found.length }).toEqual({ table: name, rows: wanted.length });
      const last = wanted.at(-1);
      if (last === undefined) break;
      after = Number(last[0]);
      compared += wanted.length;
    }
  }
  return compared;
}

function isSameRow(wanted: readonly unknown[], found: readonly unknown[] | undefined): boolean {
  return wanted.every((cell, i) => {
    const other = found?.[i];
    return cell instanceof Uint8Array && other instanceof Uint8Array
      ? Buffer.compare(cell, other) === 0
      : cell === other;
  });
}

function missingIds(connection: RawConnection, acknowledged: readonly Range[]): number[] {
  const there = new Set<number>();
  for (let after = 0; ;) {
    const { rows } = connection.execute("SELECT id FROM hammered WHERE id > ? ORDER BY id LIMIT 5000", [
      after,
    ]);
    for (const [id] of rows) there.add(Number(id));
    if (rows.length === 0) break;
    after = Number(rows.at(-1)?.[0]);
  }
  const ids = acknowledged.flatMap(([first, last]) =>
    Array.from({ length: last - first + 1 }, (_, i) => first + i),
  );
  return ids.filter((id) => !there.has(id));
}

function total(ranges: readonly Range[]): number {
  return ranges.reduce((sum, [first, last]) => sum + last - first + 1, 0);
}
