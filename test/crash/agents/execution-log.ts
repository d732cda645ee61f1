import { openSync, writeSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";

/** One line of the log of executions, which lies outside of the data folder and so outlives it. */
export interface ExecutionLine {
  readonly what: "start" | "end";
  readonly run: string;
  readonly step: string;
  /** A step of level n rests on all of its run's steps of the levels below. */
  readonly level: number;
  readonly attempt: number;
  readonly pid: number;
}

const file = process.env["DRILL_EXECUTIONS"];
const log = file === undefined ? undefined : openSync(file, "a");
let executions = 0;

/**
 * What a step of the drill does: it says that it has begun, takes `ms`, says that it ends. Its result names the token, the
 * step and this very execution, so that the result of another execution can be told from it.
 */
export async function execute(
  place: { readonly run: string; readonly token: string; readonly step: string; readonly level: number },
  { attempt, ms }: { readonly attempt: number; readonly ms: number },
): Promise<string> {
  const { run, token, step, level } = place;
  const line = { run, step, level, attempt, pid: process.pid };
  say({ what: "start", ...line });
  await sleep(ms);
  say({ what: "end", ...line });
  executions += 1;
  return `${token}:${step}:${process.pid}-${executions}`;
}

/** One write of a line to a file that was opened for appending: it is there whole, whatever happens to us next. */
function say(line: ExecutionLine): void {
  if (log !== undefined) writeSync(log, `${JSON.stringify(line)}\n`);
}
