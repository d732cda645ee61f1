import type { SerializedError } from "../engine/serialized-error.ts";
import type { HistoryEvent, ListedRun, RunStatus } from "../engine/journal.ts";

/** A run as clients see it; times are ISO 8601. */
export interface RunJson {
  readonly id: string;
  readonly agent: string;
  readonly version: string | null;
  readonly status: RunStatus;
  /** What `run.setState` said. */
  readonly state: unknown;
  readonly input: unknown;
  readonly output: unknown;
  readonly error: SerializedError | null;
  readonly parent: string | null;
  readonly createdAt: string;
  readonly startedAt: string | null;
  readonly endedAt: string | null;
  readonly updatedAt: string;
  readonly wakeAt: string | null;
}

export function runJson(run: ListedRun): RunJson {
  return {
    id: run.id,
    agent: run.agent,
    version: run.version,
    status: run.status,
    state: run.state ?? null,
    input: run.input ?? null,
    output: run.output ?? null,
    error: run.error,
    parent: run.parent,
    createdAt: isoTime(run.createdAt),
    startedAt: isoTimeOrNull(run.startedAt),
    endedAt: isoTimeOrNull(run.endedAt),
    updatedAt: isoTime(run.updatedAt),
    wakeAt: isoTimeOrNull(run.wakeAt),
  };
}

/** One row of a run's history as clients see it. */
export type HistoryJson = Omit<HistoryEvent, "runId" | "at"> & { readonly at: string };

export function historyJson(event: HistoryEvent): HistoryJson {
  const { runId: _runId, at, data, ...rest } = event;
  return { ...rest, at: isoTime(at), data: data ?? null };
}

/** `at` in epoch milliseconds. */
export function isoTime(at: number): string {
  return new Date(at).toISOString();
}

export function isoTimeOrNull(at: number | null): string | null {
  return at === null ? null : isoTime(at);
}
