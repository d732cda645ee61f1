import type { StepPlace } from "./retry-point.ts";
import type { Durability, HistoryEvent, ListedRun, RunFilter } from "./journal.ts";

export interface StartRequest {
  readonly agent: string;
  /** As it came from outside: checked against the agent's schema here. */
  readonly input: unknown;
  readonly idempotencyKey?: string | undefined;
  /** Can only raise what the agent and the host ask for. */
  readonly durability?: Durability | undefined;
  readonly delayMs?: number | undefined;
}

export interface SignalRequest {
  readonly name: string;
  readonly payload: unknown;
  readonly idempotencyKey?: string | undefined;
}

/** A tenant's runs, as the outside uses them. Nothing here waits for durability: the caller's gate does. */
export interface Runs {
  /**
   * Throws UnknownAgentError, InvalidInputError, IdempotencyConflictError. `created` is false when the idempotency key
   * had already started this very run.
   */
  start(request: StartRequest): Promise<{ readonly run: ListedRun; readonly created: boolean }>;
  /** Throws RunNotFoundError, as do the calls below. */
  get(runId: string): Promise<ListedRun>;
  list(filter: RunFilter): Promise<readonly ListedRun[]>;
  history(
    runId: string,
    range: { readonly after: number; readonly limit: number },
  ): Promise<readonly HistoryEvent[]>;
  /** Throws WrongStatusError on a run that has ended, InvalidInputError if a waiting step's schema refuses the payload. */
  signal(runId: string, request: SignalRequest): Promise<{ readonly id: string; readonly created: boolean }>;
  /** Ends the run, and with it the runs that it waits for. Calls below give the run as it is then. Throws WrongStatusError. */
  cancel(runId: string): Promise<ListedRun>;
  /** Steps under way may end; none begins until the run is resumed. */
  pause(runId: string): Promise<ListedRun>;
  resume(runId: string): Promise<ListedRun>;
  /**
   * Goes on with a run that has ended: from the step that is named, else from the one that failed. What was recorded
   * before is replayed. Throws InvalidInputError if there is no such step.
   */
  retry(runId: string, from?: StepPlace): Promise<ListedRun>;
  /** A new run that shares the recorded past up to the step. */
  fork(runId: string, from?: StepPlace): Promise<ListedRun>;
  /** Deletes a run that has ended, and the runs that it waited for. */
  remove(runId: string): Promise<void>;
  /** The run as it is when it has ended, or after `timeoutMs`, whichever comes first. */
  ended(runId: string, timeoutMs: number): Promise<ListedRun>;
}
