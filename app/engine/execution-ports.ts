import type { ChildEnd } from "./child-end.ts";
import type { Clock } from "./clock.ts";
import type { Execution } from "./execution.ts";
import type { Guard } from "./guard.ts";
import type { Journal, ListedRun, RunRecord, Write } from "./journal.ts";
import type { EngineLog } from "./log.ts";

/** What a run asks of the engine that it lives in. */
export interface ExecutionPorts {
  readonly journal: Journal;
  readonly clock: Clock;
  readonly log: EngineLog;
  readonly tenantId: string;
  readonly guard: Guard;
  readonly newId: () => string;
  readonly random: () => number;
  /** A run of another agent, ready to be committed with the row that tells of it. Throws UnknownAgentError, InvalidInputError. */
  readonly prepareRun: (agentId: string, input: unknown, parent: RunRecord | null) => Promise<RunRecord>;
  /** The run was committed: it may begin. */
  readonly adopt: (run: RunRecord) => void;
  /** Resolves when the run has ended, unless that is forgotten before. `parent` hears of it. */
  readonly childEnd: (runId: string, parent: Execution) => ChildEnd;
  /** What else is committed when the run has failed. */
  readonly afterFailure: (run: RunRecord, thrown: unknown) => readonly Write[];
  /** Told once, when the run has ended or was paused: it needs no memory any more. `run` is what was written of it. */
  readonly onSettled: (execution: Execution, run: ListedRun) => void;
  /** The run is to be replayed from the start, by what was recorded just now. */
  readonly onRetraced: (execution: Execution) => void;
  /** The run does nothing but wait now. */
  readonly onWaiting: (execution: Execution) => void;
}
