import type { HistoryEvent, Journal, RunRecord, SignalRecord } from "./journal.ts";
import { goOnFrom, type Counting, type RetryPoint } from "./retry-point.ts";

/** What is recorded of a run when it comes to life. */
export interface Past {
  readonly lastSeq: number;
  readonly counting: Counting;
  /** Whether it has ever started a run to wait for: that may have been retried, although the row does not count any more. */
  readonly hasChildren: boolean;
  /** Signals that nobody has taken. */
  readonly inbox: readonly SignalRecord[];
}

/** So many rows are read at a time. */
const pageRows = 5_000;

/** Every row of the run, in order. */
export async function wholeHistory(journal: Journal, runId: string): Promise<readonly HistoryEvent[]> {
  const all: HistoryEvent[] = [];
  for (;;) {
    const page = await journal.history(runId, { after: all.at(-1)?.seq ?? 0, limit: pageRows });
    all.push(...page);
    if (page.length < pageRows) return all;
  }
}

/** What a run's first row says. */
export function startedData({ agent, input }: RunRecord): unknown {
  return { agent, input };
}

/** What `run.retraced` says: what a retry's replay has found out of the rows that it was to go by. */
export interface Retraced {
  /** Rows that no longer count: calls that came of a failure which is made anew, and further calls that are made anew. */
  readonly dropped: readonly number[];
  /** The code may do without calls that were first recorded behind this row. */
  readonly after: number;
  /** Whether the rest counts for good; otherwise it is replayed once more to see what it needs of that. */
  readonly done: boolean;
}

/** What `run.forked` says. `after` is there if it is yet to be found out which of the shared rows count. */
export interface Forked {
  readonly run: string;
  readonly from: RetryPoint;
  readonly after?: number;
}

/** What a replay goes by. Nothing is ever taken out of history; a retry is a new part of it, which says what counts. */
export function whatCounts(history: readonly HistoryEvent[]): Counting {
  let rows: HistoryEvent[] = [];
  let retracing: Counting["retracing"] = null;
  for (const event of history) {
    if (event.kind === "run.retried") {
      const kept = goOnFrom({ rows, retracing }, event.data as RetryPoint);
      rows = [...kept.rows];
      retracing = kept.retracing;
    } else if (event.kind === "run.retraced") {
      const { dropped, after, done } = event.data as Retraced;
      const gone = new Set(dropped);
      rows = rows.filter(({ seq }) => !gone.has(seq));
      retracing = done ? null : { after };
    } else {
      rows.push(event);
      const after = event.kind === "run.forked" ? (event.data as Forked).after : undefined;
      if (after !== undefined) retracing = { after };
    }
  }
  return { rows, retracing };
}

/** The rows of `whatCounts`. */
export function rowsThatCount(history: readonly HistoryEvent[]): readonly HistoryEvent[] {
  return whatCounts(history).rows;
}
