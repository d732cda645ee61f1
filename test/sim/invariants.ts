import { hasEnded, type HistoryEvent, type RunRecord } from "../../app/engine/journal.ts";
import { rowsThatCount } from "../../app/engine/past.ts";
import { RecordedSteps, isOutcome } from "../../app/engine/recorded-steps.ts";
import { identityKey } from "../../app/engine/step-identity.ts";
import type { MemoryFile } from "../fakes/memory-file.ts";
import { Violation } from "./witness.ts";

type State = MemoryFile["state"];

/** What holds of a tenant's file at every moment, whatever a crash has cut off. */
export function checkFile(state: State, deleted: ReadonlySet<string>): void {
  for (const run of state.runs.values()) {
    const rows = state.history.get(run.id) ?? [];
    checkRows(run, rows);
    checkEnding(run, rows);
    checkChildren(state, deleted, rows);
    checkTransactions(state, run.id, rows);
  }
}

/** Rows without gaps, in the order of time; one outcome a call; nothing after the end. */
function checkRows(run: RunRecord, rows: readonly HistoryEvent[]): void {
  let last = 0;
  for (const [index, { seq, at }] of rows.entries()) {
    if (seq !== index + 1)
      throw new Violation(`run ${run.id}: row ${seq} stands where row ${index + 1} should`);
    if (at < last) throw new Violation(`run ${run.id}: row ${seq} is from before the row before it`);
    last = at;
  }
  const counting = rowsThatCount(rows);
  const outcomes = counting.filter(({ kind }) => isOutcome(kind)).map(identityKey);
  if (new Set(outcomes).size !== outcomes.length)
    throw new Violation(`run ${run.id}: a call has two outcomes`);
  const mismatch = rows.find(
    ({ kind, data }) => kind === "run.paused" && (data as { reason: string }).reason === "mismatch",
  );
  if (mismatch !== undefined)
    throw new Violation(`run ${run.id} is paused, its code is unchanged: ${JSON.stringify(mismatch.data)}`);
  const starts = rows.filter(({ kind }) => kind === "run.started");
  if (starts.length > 1) throw new Violation(`run ${run.id} has started twice`);
  const first = rows.find(({ kind }) => !kind.startsWith("run."));
  if (first !== undefined && starts.length === 0)
    throw new Violation(`run ${run.id} goes on and never started`);
  for (const row of rows.filter(({ kind }) => kind === "sleep.ended")) {
    const began = rows.findLast(
      (earlier) =>
        earlier.seq < row.seq &&
        earlier.kind === "sleep.started" &&
        identityKey(earlier) === identityKey(row),
    );
    const until = (began?.data as { readonly until: number } | undefined)?.until ?? Infinity;
    if (row.at < until) throw new Violation(`run ${run.id}: row ${row.seq} ends a sleep before its time`);
  }
}

/** The run's record says of its end what its history says. */
function checkEnding(run: RunRecord, rows: readonly HistoryEvent[]): void {
  const last = rows.findLast(({ kind }) => kind.startsWith("run."));
  const said = last?.kind.slice("run.".length);
  const ended = said === "completed" || said === "failed" || said === "cancelled" || said === "paused";
  if (ended ? run.status !== said : hasEnded(run.status) || run.status === "paused")
    throw new Violation(`run ${run.id} is ${run.status}, its history says ${last?.kind}`);
  if (ended && run.wakeAt !== null) throw new Violation(`run ${run.id} is ${run.status} and would be woken`);
  if (ended && last !== rows.at(-1)) throw new Violation(`run ${run.id} has rows behind ${last?.kind}`);
  if (said === "completed" && JSON.stringify(run.output) !== JSON.stringify(last?.data))
    throw new Violation(`run ${run.id}: its output is not what its history says`);
}

/** A child is there with the row that tells of it, and has ended as the row of its end says. */
function checkChildren(state: State, deleted: ReadonlySet<string>, rows: readonly HistoryEvent[]): void {
  for (const { seq, kind, data, runId, path, name, occurrence } of rows) {
    if (kind === "child.started" || kind === "child.detached") {
      const { runId: childId } = data as { readonly runId: string };
      if (!state.runs.has(childId) && !deleted.has(childId))
        throw new Violation(`run ${runId} tells of run ${childId}, which is not there`);
    }
    if (kind !== "child.completed") continue;
    const key = identityKey({ path, name, occurrence });
    const started = rows.findLast(
      (row) => row.seq < seq && row.kind === "child.started" && identityKey(row) === key,
    );
    const childId = (started?.data as { readonly runId: string } | undefined)?.runId ?? "";
    if (deleted.has(childId)) continue;
    const child = state.history.get(childId) ?? [];
    const end = child.find(
      (row) => row.kind === "run.completed" && JSON.stringify(row.data) === JSON.stringify(data),
    );
    if (end === undefined) throw new Violation(`run ${runId} has the output of a child that never gave it`);
  }
}

/** What a transaction wrote is there as often as the rows that tell of it: rows that a fork shares were another run's. */
function checkTransactions(state: State, runId: string, rows: readonly HistoryEvent[]): void {
  const forkedAt = rows.findLast(({ kind }) => kind === "run.forked")?.seq ?? 0;
  const told = new Map<string, number>();
  for (const row of rows) {
    if (row.kind !== "step.completed" || row.data !== "tx" || row.seq < forkedAt) continue;
    const key = rowKey(runId, identityKey(row));
    told.set(key, (told.get(key) ?? 0) + 1);
  }
  for (const [key, count] of state.rows)
    if (key.startsWith(`${runId}|`) && told.get(key) !== count)
      throw new Violation(`${key} was applied ${count} times, history tells of ${told.get(key) ?? 0}`);
  for (const [key, count] of told)
    if (state.rows.get(key) !== count)
      throw new Violation(
        `history tells of ${key} ${count} times, it was applied ${state.rows.get(key) ?? 0} times`,
      );
}

/** The row of the user's table that a transaction of a run counts in. */
export function rowKey(runId: string, key: string): string {
  return `${runId}|${key.replaceAll("\u0000", "|")}`;
}

/** What a run that is not at work, and has nothing to do now, says of itself. */
export function checkAtRest(
  run: RunRecord,
  history: readonly HistoryEvent[],
  timeoutMs: number | null,
): void {
  const open = openWaits(history);
  const untils = open.flatMap(({ until }) => until ?? []);
  if (timeoutMs !== null && run.startedAt !== null) untils.push(run.startedAt + timeoutMs);
  const wakeAt = untils.length === 0 ? null : Math.min(...untils);
  const status = open.some(({ waits }) => waits) ? "waiting" : "sleeping";
  if (open.length === 0) throw new Violation(`run ${run.id} is ${run.status} and waits for nothing`);
  if (run.status !== status || run.wakeAt !== wakeAt)
    throw new Violation(
      `run ${run.id} is ${run.status} until ${run.wakeAt}, its history says ${status} until ${wakeAt}`,
    );
}

export interface OpenWait {
  readonly waits: boolean;
  readonly until: number | null;
  /** What it waits for, if that is a signal. */
  readonly signal: string | null;
}

/** The calls of a run that have begun and not ended. */
export function openWaits(history: readonly HistoryEvent[]): readonly OpenWait[] {
  const rows = rowsThatCount(history);
  const recorded = new RecordedSteps(rows);
  const waits = new Map<string, OpenWait>();
  for (const row of rows) {
    const call = recorded.ask(row);
    const progress = call?.progress;
    if (call === undefined || call.outcome !== null || progress == null) continue;
    const data = progress.data as { until?: number | null; nextAt?: number; signal?: string };
    waits.set(identityKey(row), {
      waits: call.kind === "signal" || call.kind === "child",
      until: data.until ?? data.nextAt ?? null,
      signal: data.signal ?? null,
    });
  }
  return [...waits.values()];
}
