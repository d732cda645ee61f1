import type { HistoryEvent, Journal } from "./journal.ts";
import { isOutcome } from "./recorded-steps.ts";
import { identityKey, type StepIdentity } from "./step-identity.ts";

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

/** What `run.retried` says: the call that is made anew, and from which row on history no longer counts. */
export interface RetryPoint {
  readonly fromSeq: number;
  readonly path: string;
  readonly name: string;
  readonly occurrence: number;
}

/**
 * The rows that a replay goes by: those before a retry's point, without the retried call itself. Nothing is ever taken
 * out of history; a retry is a new part of it.
 */
export function rowsThatCount(history: readonly HistoryEvent[]): readonly HistoryEvent[] {
  let counting: HistoryEvent[] = [];
  for (const event of history) {
    if (event.kind === "run.retried") counting = before(counting, event.data as RetryPoint);
    else counting.push(event);
  }
  return counting;
}

/**
 * The rows that a run shares with its fork at the point. A child whose end is not among them is started anew: it was
 * cancelled when its parent ended, or belongs to the run that was forked.
 */
export function before(rows: readonly HistoryEvent[], point: RetryPoint): HistoryEvent[] {
  const again = identityKey(point);
  const shared = rows.filter(
    (event) => event.seq < point.fromSeq && (point.name === "" || identityKey(event) !== again),
  );
  const settled = new Set(shared.filter(({ kind }) => isOutcome(kind)).map(identityKey));
  return shared.filter((event) => event.kind !== "child.started" || settled.has(identityKey(event)));
}

export interface StepPlace {
  readonly path?: string | undefined;
  readonly name: string;
  readonly occurrence?: number | undefined;
}

/**
 * Where a run is to go on from: the call that was named, else the last that failed, else the end of what was recorded.
 * Undefined if history has no such call.
 */
export function findRetryPoint(
  history: readonly HistoryEvent[],
  place: StepPlace | undefined,
): RetryPoint | undefined {
  const rows = rowsThatCount(history);
  const outcomes = rows.filter(({ kind }) => isOutcome(kind));
  const found =
    place === undefined
      ? outcomes.findLast(({ kind }) => kind === "step.failed" || kind === "child.failed")
      : outcomes.find((event) => identityKey(event) === identityKey(identityOf(place)));
  if (found !== undefined)
    return { fromSeq: found.seq, path: found.path, name: found.name, occurrence: found.occurrence };
  const end = (history.at(-1)?.seq ?? 0) + 1;
  return place === undefined ? { fromSeq: end, path: "", name: "", occurrence: 0 } : undefined;
}

function identityOf({ path = "", name, occurrence = 0 }: StepPlace): StepIdentity {
  return { path, name, occurrence };
}
