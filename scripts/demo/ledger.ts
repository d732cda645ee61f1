import { isDeepStrictEqual } from "node:util";

import { isEnd } from "./family.ts";
import { recordedSteps } from "./progress.ts";
import type { HistoryRow } from "./runs-client.ts";

/** What became of the rows that answers had shown before the kill. Times are epoch milliseconds. */
export interface Ledger {
  /** Rows that an answer showed: each of them was promised to last. */
  readonly acknowledged: number;
  readonly acknowledgedSteps: number;
  /** Acknowledged rows that are gone, or not what they were. */
  readonly lost: readonly HistoryRow[];
  /** Steps whose record was made before the kill and came back from the replica, acknowledged or not. */
  readonly replayedSteps: number;
  /**
   * The first step that was recorded after the kill, of each run that was alive then and did not just wait for others: what
   * the kill cut off is among them, as the steps of such a run go one by one.
   */
  readonly cutOff: readonly HistoryRow[];
  /** Steps recorded after the restart and before any client asked again. */
  readonly stepsAlone: number;
  /** Steps that are recorded more than once under the same name. */
  readonly repeated: readonly string[];
  /** From the kill to the first step recorded after it. */
  readonly pauseMs: number | undefined;
}

/** `before` and `after` are rows of a run and of its children. */
export function drawUp(
  before: readonly HistoryRow[],
  after: readonly HistoryRow[],
  times: { readonly killedAt: number; readonly askedAgainAt: number },
): Ledger {
  const found = new Map(after.map((row) => [placeOf(row), row]));
  const steps = recordedSteps(after);
  const isLate = ({ at }: HistoryRow): boolean => Date.parse(at) > times.killedAt;
  const late = steps.filter(isLate).toSorted((one, other) => Date.parse(one.at) - Date.parse(other.at));
  const [first] = late;
  return {
    acknowledged: before.length,
    acknowledgedSteps: recordedSteps(before).length,
    lost: before.filter((row) => !isDeepStrictEqual(found.get(placeOf(row)), row)),
    replayedSteps: steps.length - late.length,
    cutOff: firstStepsOf(busyRuns(after.filter((row) => !isLate(row))), late),
    stepsAlone: late.filter(({ at }) => Date.parse(at) < times.askedAgainAt).length,
    repeated: repeated(steps),
    pauseMs: first && Date.parse(first.at) - times.killedAt,
  };
}

function placeOf({ run, seq }: HistoryRow): string {
  return `${run} ${seq}`;
}

/** Runs that have rows and no end, without those that wait for a child which is such a run itself. */
function busyRuns(rows: readonly HistoryRow[]): ReadonlySet<string> {
  const ended = new Set(rows.filter(isEnd).map(({ run }) => run));
  const alive = new Set(rows.map(({ run }) => run).filter((run) => !ended.has(run)));
  const waiting = rows
    .filter(({ kind, data }) => kind === "child.started" && alive.has((data as { runId: string }).runId))
    .map(({ run }) => run);
  return new Set([...alive].filter((run) => !waiting.includes(run)));
}

function firstStepsOf(runs: ReadonlySet<string>, steps: readonly HistoryRow[]): readonly HistoryRow[] {
  return [...runs].flatMap((id) => steps.find(({ run }) => run === id) ?? []);
}

/** What is not as promised, in words; empty if all is well. */
export function brokenPromises(ledger: Ledger): readonly string[] {
  const broken: string[] = [];
  if (ledger.lost.length > 0) {
    const names = ledger.lost.slice(0, 5).map(({ seq, name }) => `${seq} ${name}`);
    broken.push(
      `${ledger.lost.length} acknowledged writes were lost or changed, such as ${names.join(", ")}`,
    );
  }
  if (ledger.acknowledgedSteps === 0)
    broken.push("no step was acknowledged before the kill: nothing was proved");
  if (ledger.replayedSteps < ledger.acknowledgedSteps) broken.push("an acknowledged step ran again");
  if (ledger.stepsAlone === 0) broken.push("no step was taken before a client called again");
  if (ledger.repeated.length > 0)
    broken.push(`steps were recorded twice: ${ledger.repeated.slice(0, 5).join(", ")}`);
  return broken;
}

/** By what names a step: its run, branch, name and count. */
function repeated(steps: readonly HistoryRow[]): readonly string[] {
  const seen = new Set<string>();
  return steps.flatMap(({ run, path, name, occurrence }) => {
    const step = JSON.stringify([run, path, name, occurrence]);
    if (seen.has(step)) return [name];
    seen.add(step);
    return [];
  });
}
