import type { SerializedError } from "./serialized-error.ts";

/** `replicated`: nothing is acknowledged before it is in object storage. `local`: the crash window is the replication lag. */
export type Durability = "replicated" | "local";

export const runStatuses = [
  "queued",
  "running",
  "sleeping",
  "waiting",
  "paused",
  "completed",
  "failed",
  "cancelled",
] as const;
export type RunStatus = (typeof runStatuses)[number];

/** Statuses that no event changes any more. */
export const endedStatuses = ["completed", "failed", "cancelled"] as const satisfies readonly RunStatus[];

export function hasEnded(status: RunStatus): boolean {
  return (endedStatuses as readonly RunStatus[]).includes(status);
}

/** The projection of a run's history that lists and status pages read. Times are epoch milliseconds. */
export interface RunRecord {
  readonly id: string;
  readonly agent: string;
  readonly version: string | null;
  readonly status: RunStatus;
  readonly durability: Durability;
  readonly input: unknown;
  readonly output: unknown;
  readonly error: SerializedError | null;
  /** What the run said of itself last. */
  readonly state: unknown;
  /** The run that started this one. */
  readonly parent: string | null;
  readonly idempotencyKey: string | null;
  /** Digest of the request that the idempotency key came with; null without a key. */
  readonly fingerprint: string | null;
  readonly createdAt: number;
  readonly startedAt: number | null;
  readonly endedAt: number | null;
  /** When the earliest sleep, timeout or retry of the run is due; null if it waits for none. */
  readonly wakeAt: number | null;
}

export type HistoryKind =
  | "run.started"
  | "run.completed"
  | "run.failed"
  | "run.cancelled"
  | "run.paused"
  | "run.resumed"
  | "run.retried"
  | "run.retraced"
  | "run.forked"
  | "step.completed"
  | "step.failed"
  | "step.retrying"
  | "sleep.started"
  | "sleep.ended"
  | "signal.waiting"
  | "signal.received"
  | "signal.rejected"
  | "signal.timed_out"
  | "child.started"
  | "child.completed"
  | "child.failed"
  | "child.detached"
  | "value.recorded";

/** One row of the append-only record of a run. `seq` starts at 1 and has no gaps within a run. */
export interface HistoryEvent {
  readonly runId: string;
  readonly seq: number;
  readonly at: number;
  readonly kind: HistoryKind;
  /** The branch that the step belongs to; "" outside `step.map`. */
  readonly path: string;
  readonly name: string;
  /** How many calls of the same kind of identity (path, name) came before this one. */
  readonly occurrence: number;
  /** 1 for a first attempt; 0 where attempts make no sense. */
  readonly attempt: number;
  /** JSON value; `undefined` is kept apart from `null`. */
  readonly data: unknown;
}

/** A signal in a run's inbox. `takenBySeq` is the history row that took it, null while nobody has. */
export interface SignalRecord {
  readonly id: string;
  readonly runId: string;
  readonly name: string;
  readonly idempotencyKey: string | null;
  readonly payload: unknown;
  readonly at: number;
  readonly takenBySeq: number | null;
}

export type RunPatch = Partial<
  Pick<RunRecord, "status" | "output" | "error" | "state" | "startedAt" | "endedAt" | "wakeAt">
>;

/** One change of a tenant's file. The writes of one `append` are committed together or not at all. */
export type Write =
  | { readonly kind: "create-run"; readonly run: RunRecord }
  | { readonly kind: "patch-run"; readonly runId: string; readonly patch: RunPatch }
  | { readonly kind: "event"; readonly event: HistoryEvent }
  | { readonly kind: "create-signal"; readonly signal: SignalRecord }
  | { readonly kind: "take-signal"; readonly signalId: string; readonly bySeq: number }
  /** The run, its history and its inbox. */
  | { readonly kind: "delete-run"; readonly runId: string };

export interface RunFilter {
  readonly agent?: string | undefined;
  readonly status?: RunStatus | undefined;
  /** Only runs older than this run id. */
  readonly before?: string | undefined;
  readonly limit: number;
}

/** A run as it is listed: the record and the time of its last history row (its creation, before it has one). */
export type ListedRun = RunRecord & { readonly updatedAt: number };

export type UnfinishedRun = Pick<RunRecord, "id" | "agent" | "status" | "wakeAt">;

/**
 * Where the engine's truth is kept. `append` resolves when the rows are committed locally, in call order; rows of the same
 * turn of the event loop share one transaction. `durable` resolves when everything appended before the call is in object
 * storage and this host was not fenced then; it rejects when that cannot be had now.
 */
export interface Journal {
  append(writes: readonly Write[]): Promise<void>;
  /**
   * Runs `work` in a transaction on the tenant's own database, and commits with it the writes that it gives. What it throws
   * rolls everything back and is passed on. `tx` is the journal's own: the engine hands it to the user's code unseen.
   */
  transaction(work: (tx: unknown) => Promise<readonly Write[]>): Promise<void>;
  durable(): Promise<void>;
  run(id: string): Promise<ListedRun | undefined>;
  runByIdempotencyKey(key: string): Promise<RunRecord | undefined>;
  runs(filter: RunFilter): Promise<readonly ListedRun[]>;
  /** Runs that have not ended, oldest first: what a scheduler must know of them. */
  unfinishedRuns(): Promise<readonly UnfinishedRun[]>;
  history(
    runId: string,
    range: { readonly after: number; readonly limit: number },
  ): Promise<readonly HistoryEvent[]>;
  /** The run's last row of history; 0 if it has none. */
  lastSeq(runId: string): Promise<number>;
  /** Runs that may have missed to hear of something: with a signal that nobody took, or a child that has ended. */
  runsToLookAt(): Promise<readonly string[]>;
  /** Runs that have not ended although the run that waited for them has, unless they were started anew since. */
  orphans(): Promise<readonly string[]>;
  /** Runs that this one started, oldest first. */
  children(runId: string): Promise<readonly RunRecord[]>;
  /** Signals of the run that nobody has taken, oldest first. */
  inbox(runId: string): Promise<readonly SignalRecord[]>;
  signalByIdempotencyKey(runId: string, key: string): Promise<SignalRecord | undefined>;
  countRunsByStatus(): Promise<Readonly<Partial<Record<RunStatus, number>>>>;
}
