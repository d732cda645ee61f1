import type { RunRecord } from "./journal.ts";

/** A run, as whoever watches over the event loop knows it. */
export interface GuardedRun {
  readonly run: Pick<RunRecord, "id" | "agent">;
  /** Its last row of history, be it committed or not; 0 if it has none. */
  readonly lastSeq: number;
}

/** Is told whose code gets the event loop, so that one that never gives it back, or throws out of it, can be named. */
export interface Guard {
  /** Calls the agent's function. Whatever comes of the call, awaited, timers and callbacks, goes on under the run's name. */
  begin<Result>(run: GuardedRun, call: () => Result): Result;
  /** The run gets the event loop now: a step's function, or code that waited for an outcome. Told at every step. */
  enter(run: GuardedRun): void;
}

export const noGuard: Guard = { begin: (_run, call) => call(), enter: () => {} };
