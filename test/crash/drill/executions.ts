import { existsSync, readFileSync } from "node:fs";
import type { ExecutionLine } from "../agents/execution-log.ts";
import type { KnownRun, Ledger } from "./ledger.ts";

/** What is known of a run's executions. An execution is a step's name and the number of the attempt. */
interface Executed {
  /** The highest level of which a step was started; without bound once a client was shown the run's end. */
  level: number;
  /** Steps of which a client was shown the result, before some kill. */
  readonly settled: Set<string>;
  readonly started: Set<string>;
  readonly underWay: Set<string>;
}

/**
 * What really was executed, by the log that the agents keep outside of the data folder. A step that another one rests on,
 * or whose result someone was shown, must never be executed again.
 */
export class Executions {
  readonly #file: string;
  readonly #ledger: Ledger;
  readonly #runs = new Map<string, Executed>();
  #readBytes = 0;
  /** Executions that a kill had cut off, or whose result it took, and that happened again: as is promised. */
  repeated = 0;

  constructor(file: string, ledger: Ledger) {
    this.#file = file;
    this.#ledger = ledger;
  }

  /** Checks what was executed since the last look. */
  check(): void {
    if (!existsSync(this.#file)) return;
    const text = readFileSync(this.#file).subarray(this.#readBytes).toString();
    const whole = text.slice(0, text.lastIndexOf("\n") + 1);
    this.#readBytes += Buffer.byteLength(whole);
    for (const line of whole.split("\n")) if (line !== "") this.#follow(JSON.parse(line) as ExecutionLine);
  }

  /** The worker is dead: checks, and gives how many steps were under way. What clients were shown up to now is settled. */
  cut(known: readonly KnownRun[]): number {
    this.check();
    let inFlight = 0;
    for (const { underWay } of this.#runs.values()) {
      inFlight += underWay.size;
      underWay.clear();
    }
    for (const { id, rows, ended } of known) {
      if (id === null) continue;
      const executed = this.#of(id);
      for (const { kind, name } of rows.values())
        if (kind === "step.completed" || kind === "step.failed") executed.settled.add(name);
      if (ended !== null) executed.level = Number.POSITIVE_INFINITY;
    }
    return inFlight;
  }

  #follow({ what, run, step, level, attempt, pid }: ExecutionLine): void {
    const executed = this.#of(run);
    const execution = `${step} ${attempt}`;
    if (what === "end") {
      executed.underWay.delete(execution);
      return;
    }
    const violate = (why: string): void =>
      this.#ledger.violate("ran-again", `process ${pid} executed step "${step}" of run ${run}, ${why}`);
    if (level < executed.level) violate("and a later step had begun, or the run's end had been shown");
    if (executed.settled.has(step)) violate("and its result had been shown");
    if (attempt > (step === "try" ? 3 : 1)) violate(`as attempt ${attempt}: an interruption counted as one`);
    if (executed.started.has(execution)) this.repeated += 1;
    executed.level = Math.max(executed.level, level);
    executed.started.add(execution);
    executed.underWay.add(execution);
  }

  #of(run: string): Executed {
    const executed = this.#runs.get(run) ?? {
      level: 0,
      settled: new Set(),
      started: new Set(),
      underWay: new Set(),
    };
    this.#runs.set(run, executed);
    return executed;
  }
}
