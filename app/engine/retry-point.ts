import type { HistoryEvent, RunRecord } from "./journal.ts";
import { isFailure, isOfCall, isOutcome } from "./recorded-steps.ts";
import type { SerializedError } from "./serialized-error.ts";
import { identityKey, type StepIdentity } from "./step-identity.ts";

/** The rows that a replay goes by. */
export interface Counting {
  readonly rows: readonly HistoryEvent[];
  /** Not null: the next replay makes no call yet, and finds out which of the rows the code still asks for. */
  readonly retracing: Retracing | null;
}

export interface Retracing {
  /** The code may do without calls that were first recorded behind this row: they may have come of what is made anew. */
  readonly after: number;
}

/** What `run.retried` says if a call was named: it and all that was recorded from its outcome on is made anew. */
interface NamedPoint extends StepIdentity {
  readonly fromSeq: number;
}

/**
 * What it says if none was: the call whose failure the run has failed by is made anew, if that is known. Calls that were first
 * recorded behind row `after` are kept if the code asks for them without it: then they went on beside it.
 */
interface FailurePoint {
  readonly failed: StepIdentity | null;
  readonly after: number;
}

export type RetryPoint = NamedPoint | FailurePoint;

export interface StepPlace {
  readonly path?: string | undefined;
  readonly name: string;
  readonly occurrence?: number | undefined;
}

/** Where a run is to go on from. Undefined if its history has no such call. */
export function findRetryPoint(
  run: RunRecord,
  rows: readonly HistoryEvent[],
  place: StepPlace | undefined,
): RetryPoint | undefined {
  if (place === undefined) return failurePoint(run, rows);
  const wanted = identityKey({ path: "", occurrence: 0, ...definedOf(place) });
  const found = rows.find((event) => isOutcome(event.kind) && identityKey(event) === wanted);
  return found === undefined ? undefined : { fromSeq: found.seq, ...identityOf(found) };
}

/**
 * What a run goes by that goes on from the point, or shares with its fork there. A child whose end is not among it is
 * started anew: it was cancelled when its parent ended, or belongs to the run that was forked.
 */
export function goOnFrom({ rows, retracing }: Counting, point: RetryPoint): Counting {
  if ("fromSeq" in point) {
    const again = point.name === "" ? null : identityKey(point);
    const before = rows.filter((event) => event.seq < point.fromSeq && identityKey(event) !== again);
    return { rows: withoutOpenChildren(before), retracing };
  }
  const again = point.failed === null ? null : identityKey(point.failed);
  const kept = withoutOpenChildren(rows.filter((event) => identityKey(event) !== again));
  const after = Math.min(point.after, retracing?.after ?? Infinity);
  return { rows: kept, retracing: leavesNoDoubt(kept, after) ? null : { after } };
}

function failurePoint(run: RunRecord, rows: readonly HistoryEvent[]): FailurePoint {
  const name = run.status === "failed" ? stepOf(run.error) : undefined;
  const failed = name === undefined ? undefined : lastFailure(rows, name);
  if (failed !== undefined) return { failed: identityOf(failed), after: failed.seq };
  return { failed: null, after: rows.at(-1)?.seq ?? 0 };
}

/** The last failed call of the name, or of all. */
export function lastFailure(
  rows: readonly HistoryEvent[],
  name: string | undefined,
): HistoryEvent | undefined {
  return rows.findLast((event) => isFailure(event.kind) && (name === undefined || event.name === name));
}

/** The step by whose failure a run has failed, as far as its error, or one that caused it, says so. */
export function stepOf(error: SerializedError | null): string | undefined {
  for (let cause = error ?? undefined; cause !== undefined; cause = cause.cause)
    if (cause.step !== undefined) return cause.step;
  return undefined;
}

function definedOf({ path, name, occurrence }: StepPlace): Partial<StepIdentity> & { readonly name: string } {
  return {
    name,
    ...(path === undefined ? {} : { path }),
    ...(occurrence === undefined ? {} : { occurrence }),
  };
}

function identityOf({ path, name, occurrence }: StepIdentity): StepIdentity {
  return { path, name, occurrence };
}

function withoutOpenChildren(rows: readonly HistoryEvent[]): readonly HistoryEvent[] {
  const settled = new Set(rows.filter(({ kind }) => isOutcome(kind)).map(identityKey));
  return rows.filter((event) => event.kind !== "child.started" || settled.has(identityKey(event)));
}

/** Whether nothing failed that might be made anew, and nothing was recorded that the code might do without. */
function leavesNoDoubt(rows: readonly HistoryEvent[], after: number): boolean {
  const calls = rows.filter(({ kind }) => isOfCall(kind));
  const before = new Set(calls.filter(({ seq }) => seq <= after).map(identityKey));
  return calls.every((event) => !isFailure(event.kind) && before.has(identityKey(event)));
}
