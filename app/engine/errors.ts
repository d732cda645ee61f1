/** One problem with a value that failed its schema: where, and what is wrong. `path` reads like `documents.0.name`. */
export interface Issue {
  readonly path: string;
  readonly message: string;
}

/** Base of every error that a caller of the engine can act on. `code` is stable and part of the outside surface. */
export abstract class EngineError extends Error {
  abstract readonly code: string;
  override get name(): string {
    return this.constructor.name;
  }
}

export class UnknownAgentError extends EngineError {
  readonly code = "not_found";
  readonly agent: string;
  constructor(agent: string) {
    super(`No agent is named "${agent}". Agents are found in the folder HOLDFAST_AGENTS (app/agents).`);
    this.agent = agent;
  }
}

export class RunNotFoundError extends EngineError {
  readonly code = "not_found";
  readonly runId: string;
  constructor(runId: string) {
    super(`This tenant has no run "${runId}".`);
    this.runId = runId;
  }
}

export class InvalidInputError extends EngineError {
  readonly code = "invalid_input";
  readonly issues: readonly Issue[];
  constructor(what: string, issues: readonly Issue[]) {
    super(`${what}: ${issues.map((issue) => `${issue.path || "(root)"}: ${issue.message}`).join("; ")}`);
    this.issues = issues;
  }
}

export class IdempotencyConflictError extends EngineError {
  readonly code = "idempotency_conflict";
  readonly key: string;
  constructor(key: string) {
    super(
      `The idempotency key "${key}" was used before with another request. Use a new key for a new request.`,
    );
    this.key = key;
  }
}

export class WrongStatusError extends EngineError {
  readonly code = "wrong_status";
  constructor(runId: string, status: string, wanted: string) {
    super(`Run "${runId}" is ${status}; ${wanted}.`);
  }
}

/** The engine was stopped (release, drain or fence) while the call waited; the run itself goes on elsewhere. */
export class EngineStoppedError extends EngineError {
  readonly code = "draining";
  constructor() {
    super("This host is letting the tenant go. Repeat the request.");
  }
}

/** What is recorded of a run cannot be read, however often that is tried: the run's trouble, and not its tenant's. */
export class UnreadableRunError extends Error {
  override readonly name: string = "UnreadableRunError";
}

/** The tenant's file did not take a transaction (disk full, or locked for long): the platform's trouble, no failed attempt. */
export class JournalTroubleError extends Error {
  override readonly name = "JournalTroubleError";
}

/** A run took longer than its agent's `timeout`. */
export class RunTimeoutError extends Error {
  override readonly name: string = "TimeoutError";
  constructor(timeoutMs: number) {
    super(`The run took longer than its timeout of ${timeoutMs} ms.`);
  }
}

/** A run that another one waited for was cancelled. */
export class RunCancelledError extends Error {
  override readonly name: string = "CancelledError";
  constructor(runId: string) {
    super(`Run "${runId}" was cancelled.`);
  }
}

/** Thrown by user code: the step or run fails at once, without further attempts. */
export class NonRetryableError extends Error {
  override readonly name: string = "NonRetryableError";
}

/** A step's function called another step: a replay would not call it again, and what it recorded would fit nowhere. */
export class NestedStepError extends NonRetryableError {
  override readonly name = "NestedStepError";
  readonly code = "nested_step";
  constructor(inner: string, outer: string) {
    super(
      `Step "${inner}" was called inside the function of step "${outer}". Call it before or after that step, not within.`,
    );
  }
}

/** Thrown by user code: the next attempt waits for `retryAfterMs` milliseconds instead of the policy's delay. */
export class RetryAfterError extends Error {
  override readonly name: string = "RetryAfterError";
  readonly retryAfterMs: number;
  constructor(message: string, retryAfterMs: number, options?: ErrorOptions) {
    super(message, options);
    this.retryAfterMs = retryAfterMs;
  }
}

/** What agent code catches when a step has failed for good. `cause` is what its last attempt threw. */
export class StepError extends Error {
  override readonly name: string = "StepError";
  readonly step: string;
  constructor(step: string, cause: Error) {
    super(`Step "${step}" failed: ${cause.message}`, { cause });
    this.step = step;
  }
}
