import { isDeepStrictEqual } from "node:util";

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
  /** The first step that was recorded after the kill: the one that the kill cut off, as steps go one by one. */
  readonly cutOff: HistoryRow | undefined;
  /** Steps recorded after the restart and before any client asked again. */
  readonly stepsAlone: number;
  /** Steps that are recorded more than once under the same name. */
  readonly repeated: readonly string[];
  /** From the kill to the first step recorded after it. */
  readonly pauseMs: number | undefined;
}

export function drawUp(
  before: readonly HistoryRow[],
  after: readonly HistoryRow[],
  times: { readonly killedAt: number; readonly askedAgainAt: number },
): Ledger {
  const bySeq = new Map(after.map((row) => [row.seq, row]));
  const steps = recordedSteps(after);
  const late = steps.filter(({ at }) => Date.parse(at) > times.killedAt);
  const [cutOff] = late;
  return {
    acknowledged: before.length,
    acknowledgedSteps: recordedSteps(before).length,
    lost: before.filter((row) => !isDeepStrictEqual(bySeq.get(row.seq), row)),
    replayedSteps: steps.length - late.length,
    cutOff,
    stepsAlone: late.filter(({ at }) => Date.parse(at) < times.askedAgainAt).length,
    repeated: repeated(steps.map(({ name }) => name)),
    pauseMs: cutOff && Date.parse(cutOff.at) - times.killedAt,
  };
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

function repeated(names: readonly string[]): readonly string[] {
  return names.filter((name, index) => names.indexOf(name) !== index);
}
