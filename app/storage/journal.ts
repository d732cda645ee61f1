import type { Connection, HoldfastTransaction, SqlValue, Statements } from "../../db/connect.ts";
import { history as historyTable } from "../../db/schema.ts";
import { DatabaseBusyError, DatabaseFullError, DatabaseIoError, QueueFullError } from "../../db/errors.ts";
import { JournalTroubleError } from "../engine/errors.ts";
import type { HistoryEvent, Journal, ListedRun, RunFilter, RunRecord } from "../engine/journal.ts";
import type { RunStatus, SignalRecord, UnfinishedRun, Write } from "../engine/journal.ts";
import { endedStatuses, hasEnded, runStatuses } from "../engine/journal.ts";
import { turn } from "../engine/turn.ts";
import type { Codec } from "./codec.ts";
import { RowInserts } from "./row-inserts.ts";
import { decodeEvent, decodeListedRun, decodeRun, decodeSignal } from "./rows.ts";
import { encodeEvent, encodePatch, encodeRun, encodeSignal } from "./rows.ts";
import type { HistoryRow, RunRow, SignalRow } from "./rows.ts";

interface Pending {
  readonly writes: readonly Write[];
  readonly done: () => void;
  readonly failed: (error: unknown) => void;
}

const listedColumns = `*, COALESCE((SELECT at FROM history WHERE run_id = runs.id ORDER BY seq DESC LIMIT 1), created_at) AS updated_at`;

/** For SQL, which does not know the engine's words. */
const endedList = quoted(endedStatuses);
const openList = quoted(runStatuses.filter((status) => !hasEnded(status)));

/** The engine's journal in a tenant's file. */
export class SqliteJournal implements Journal {
  readonly #connection: Connection;
  readonly #codec: Codec;
  readonly #gate: () => Promise<void>;
  #pending: Pending[] = [];
  #flushing = false;

  /** `gate` resolves once everything committed before its call is durable. */
  constructor(connection: Connection, codec: Codec, gate: () => Promise<void>) {
    this.#connection = connection;
    this.#codec = codec;
    this.#gate = gate;
  }

  append(writes: readonly Write[]): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#pending.push({ writes, done: resolve, failed: reject });
      if (!this.#flushing) void this.#flush();
    });
  }

  async transaction(work: (tx: unknown) => Promise<readonly Write[]>): Promise<void> {
    await this.flush();
    try {
      await this.#connection.db.transaction(async (tx) => {
        for (const write of await work(tx)) await this.#insertIn(tx, write);
      });
    } catch (error) {
      throw isPlatformTrouble(error) ? new JournalTroubleError(error.message, { cause: error }) : error;
    }
  }

  async durable(): Promise<void> {
    await this.flush();
    await this.#gate();
  }

  /** Resolves when everything appended before the call is committed or has failed, whatever is appended after it. */
  async flush(): Promise<void> {
    if (!this.#flushing) return;
    await this.append([]).catch(() => {});
  }

  async run(id: string): Promise<ListedRun | undefined> {
    type Row = RunRow & { readonly updated_at: number };
    const row = await this.#read((on) => on.get<Row>(`SELECT ${listedColumns} FROM runs WHERE id = ?`, [id]));
    return row === undefined ? undefined : decodeListedRun(row, this.#codec);
  }

  async runByIdempotencyKey(key: string): Promise<RunRecord | undefined> {
    const row = await this.#read((on) =>
      on.get<RunRow>("SELECT * FROM runs WHERE idempotency_key = ?", [key]),
    );
    return row === undefined ? undefined : decodeRun(row, this.#codec);
  }

  async runs({ agent, status, before, limit }: RunFilter): Promise<readonly ListedRun[]> {
    type Row = RunRow & { readonly updated_at: number };
    const wanted: readonly (readonly [string, string | undefined])[] = [
      ["agent = ?", agent],
      ["status = ?", status],
      ["id < ?", before],
    ];
    const given = wanted.flatMap(([clause, value]) => (value === undefined ? [] : [{ clause, value }]));
    const where = given.length === 0 ? "" : `WHERE ${given.map(({ clause }) => clause).join(" AND ")}`;
    const sql = `SELECT ${listedColumns} FROM runs ${where} ORDER BY id DESC LIMIT ?`;
    const rows = await this.#read((on) => on.all<Row>(sql, [...given.map(({ value }) => value), limit]));
    return rows.map((row) => decodeListedRun(row, this.#codec));
  }

  async unfinishedRuns(): Promise<readonly UnfinishedRun[]> {
    type Row = Pick<RunRow, "id" | "agent" | "status" | "wake_at">;
    const sql = `SELECT id, agent, status, wake_at FROM runs WHERE status IN (${openList}) ORDER BY id`;
    const rows = await this.#read((on) => on.all<Row>(sql));
    return rows.map(({ id, agent, status, wake_at: wakeAt }) => ({ id, agent, status, wakeAt }));
  }

  async runsToLookAt(): Promise<readonly string[]> {
    const signalled = "SELECT run_id AS id FROM signals WHERE taken_by_seq IS NULL";
    const ended = `SELECT parent AS id FROM runs WHERE parent IS NOT NULL AND status IN (${endedList})`;
    const waiting = `SELECT id FROM runs WHERE status = 'waiting' AND id IN (${signalled} UNION ALL ${ended})`;
    return (await this.#read((on) => on.all<{ readonly id: string }>(waiting))).map(({ id }) => id);
  }

  async orphans(): Promise<readonly string[]> {
    const sql = `SELECT child.id FROM runs AS child JOIN runs AS parent ON parent.id = child.parent
      WHERE child.parent IS NOT NULL AND child.status IN (${openList}) AND parent.status IN (${endedList})
        AND COALESCE(child.started_at, child.created_at) <= parent.ended_at`;
    return (await this.#read((on) => on.all<{ readonly id: string }>(sql))).map(({ id }) => id);
  }

  async children(runId: string): Promise<readonly RunRecord[]> {
    const rows = await this.#read((on) =>
      on.all<RunRow>("SELECT * FROM runs WHERE parent = ? ORDER BY id", [runId]),
    );
    return rows.map((row) => decodeRun(row, this.#codec));
  }

  async lastSeq(runId: string): Promise<number> {
    const sql = "SELECT seq FROM history WHERE run_id = ? ORDER BY seq DESC LIMIT 1";
    return (await this.#read((on) => on.get<{ readonly seq: number }>(sql, [runId])))?.seq ?? 0;
  }

  async history(
    runId: string,
    { after, limit }: { readonly after: number; readonly limit: number },
  ): Promise<readonly HistoryEvent[]> {
    const sql = "SELECT * FROM history WHERE run_id = ? AND seq > ? ORDER BY seq LIMIT ?";
    const rows = await this.#read((on) => on.all<HistoryRow>(sql, [runId, after, limit]));
    return rows.map((row) => decodeEvent(row, this.#codec));
  }

  async inbox(runId: string): Promise<readonly SignalRecord[]> {
    const sql = "SELECT * FROM signals WHERE run_id = ? AND taken_by_seq IS NULL ORDER BY id";
    const rows = await this.#read((on) => on.all<SignalRow>(sql, [runId]));
    return rows.map((row) => decodeSignal(row, this.#codec));
  }

  async signalByIdempotencyKey(runId: string, key: string): Promise<SignalRecord | undefined> {
    const sql = "SELECT * FROM signals WHERE run_id = ? AND idempotency_key = ?";
    const row = await this.#read((on) => on.get<SignalRow>(sql, [runId, key]));
    return row === undefined ? undefined : decodeSignal(row, this.#codec);
  }

  async countRunsByStatus(): Promise<Readonly<Partial<Record<RunStatus, number>>>> {
    type Row = { readonly status: RunStatus; readonly count: number };
    const rows = await this.#read((on) =>
      on.all<Row>("SELECT status, COUNT(*) AS count FROM runs GROUP BY status"),
    );
    return Object.fromEntries(rows.map(({ status, count }) => [status, count]));
  }

  #read<Result>(work: (statements: Statements) => Result): Promise<Result> {
    return this.#connection.read(work);
  }

  /** Waits for a turn of the event loop before each commit: all that is appended within it becomes one transaction. */
  async #flush(): Promise<void> {
    this.#flushing = true;
    while (this.#pending.length > 0) {
      await turn();
      const batch = this.#pending;
      this.#pending = [];
      await this.#commit(batch);
    }
    this.#flushing = false;
  }

  /** One transaction for all; if it fails, one for each, so that what only one of them met fails only that one. */
  async #commit(batch: readonly Pending[]): Promise<void> {
    const writes = batch.flatMap((pending) => pending.writes);
    try {
      if (writes.length > 0) await this.#connection.write((on) => this.#apply(on, writes));
    } catch (error) {
      if (batch.length === 1) return batch[0]?.failed(error);
      for (const single of batch) await this.#commit([single]);
      return;
    }
    for (const { done } of batch) done();
  }

  /** Only rows of history come out of a transaction of the user's. */
  async #insertIn(tx: HoldfastTransaction, write: Write): Promise<void> {
    if (write.kind !== "event") throw new TypeError(`A transaction cannot commit "${write.kind}".`);
    const { run_id: runId, key_id: keyId, ...row } = encodeEvent(write.event, this.#codec);
    await tx.insert(historyTable).values({ ...row, runId, keyId });
  }

  #apply(on: Statements, writes: readonly Write[]): void {
    const inserts = new RowInserts();
    for (const write of writes) {
      switch (write.kind) {
        case "create-run":
          inserts.add("runs", encodeRun(write.run, this.#codec));
          break;
        case "event":
          inserts.add("history", encodeEvent(write.event, this.#codec));
          break;
        case "create-signal":
          inserts.add("signals", encodeSignal(write.signal, this.#codec));
          break;
        // A change comes after the inserts of what it changes, and may come before others.
        case "patch-run":
          inserts.send(on, ["runs"]);
          update(on, write.runId, encodePatch(write.runId, write.patch, this.#codec));
          break;
        case "take-signal":
          inserts.send(on, ["signals"]);
          on.run("UPDATE signals SET taken_by_seq = ? WHERE id = ?", [write.bySeq, write.signalId]);
          break;
        case "delete-run":
          inserts.send(on);
          on.run("DELETE FROM history WHERE run_id = ?", [write.runId]);
          on.run("DELETE FROM signals WHERE run_id = ?", [write.runId]);
          on.run("DELETE FROM runs WHERE id = ?", [write.runId]);
          break;
        default:
          write satisfies never;
      }
    }
    inserts.send(on);
  }
}

function quoted(words: readonly string[]): string {
  return words.map((word) => `'${word}'`).join(", ");
}

/** Also where Drizzle has wrapped it. */
function isPlatformTrouble(error: unknown): error is Error {
  if (!(error instanceof Error)) return false;
  const troubles = [DatabaseBusyError, DatabaseFullError, DatabaseIoError, QueueFullError];
  return troubles.some((kind) => error instanceof kind || error.cause instanceof kind);
}

/** One statement for each set of columns that a patch may name. */
function update(on: Statements, runId: string, row: object): void {
  const columns = Object.keys(row);
  const values = Object.values(row) as SqlValue[];
  on.run(`UPDATE runs SET ${columns.map((column) => `${column} = ?`).join(", ")} WHERE id = ?`, [
    ...values,
    runId,
  ]);
}
