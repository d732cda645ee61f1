import type { Clock } from "./clock.ts";
import type { CrashLoopError } from "./crash-loop.ts";
import { InvalidInputError, WrongStatusError } from "./errors.ts";
import {
  hasEnded,
  type HistoryKind,
  type Journal,
  type RunPatch,
  type RunRecord,
  type Write,
} from "./journal.ts";
import { whatCounts, wholeHistory, type Forked } from "./past.ts";
import { findRetryPoint, goOnFrom, type Counting, type RetryPoint, type StepPlace } from "./retry-point.ts";
import { serializeError } from "./serialized-error.ts";

/** Changes of runs that are not in memory, each committed with the row of history that tells of it. */
export class RunControl {
  readonly #journal: Journal;
  readonly #clock: Clock;
  readonly #newId: () => string;

  constructor(journal: Journal, clock: Clock, newId: () => string) {
    this.#journal = journal;
    this.#clock = clock;
    this.#newId = newId;
  }

  async cancel(run: RunRecord): Promise<void> {
    const patch = { status: "cancelled", endedAt: this.#clock.now(), wakeAt: null } as const;
    await this.#change(run.id, "run.cancelled", undefined, patch);
  }

  async pause(run: RunRecord): Promise<void> {
    await this.#change(run.id, "run.paused", { reason: "request" }, { status: "paused", wakeAt: null });
  }

  /** As `pause`, with an error that says why. */
  async quarantine(run: RunRecord, thrown: CrashLoopError): Promise<void> {
    const error = serializeError(thrown);
    const patch = { status: "paused", error, wakeAt: null } as const;
    await this.#change(run.id, "run.paused", { reason: "crash_loop", error }, patch);
  }

  async resume(run: RunRecord): Promise<void> {
    await this.#change(run.id, "run.resumed", undefined, { status: "running", error: null });
  }

  /** Throws InvalidInputError if the run never made the call that is named. */
  async retry(run: RunRecord, from: StepPlace | undefined): Promise<void> {
    const point = find(run, whatCounts(await wholeHistory(this.#journal, run.id)), from);
    const now = this.#clock.now();
    const patch = { status: "running", startedAt: now, endedAt: null, wakeAt: null } as const;
    await this.#change(run.id, "run.retried", point, { ...patch, output: undefined, error: null });
  }

  /** A new run that shares what a retry would go by. Throws InvalidInputError. */
  async fork(run: RunRecord, from: StepPlace | undefined): Promise<RunRecord> {
    const counting = whatCounts(await wholeHistory(this.#journal, run.id));
    const point = find(run, counting, from);
    const id = this.#newId();
    const now = this.#clock.now();
    const { rows: kept, retracing } = goOnFrom(counting, point);
    const shared = kept.filter(({ kind }) => !kind.startsWith("run.") || kind === "run.started");
    const fork: RunRecord = {
      ...run,
      id,
      status: "running",
      output: undefined,
      error: null,
      state: undefined,
      parent: null,
      idempotencyKey: null,
      fingerprint: null,
      createdAt: now,
      startedAt: now,
      endedAt: null,
      wakeAt: null,
    };
    const rows = shared.map((event, index) => ({ ...event, runId: id, seq: index + 1 }));
    // The rows that are shared stand at other places here.
    const after =
      retracing === null ? {} : { after: shared.filter(({ seq }) => seq <= retracing.after).length };
    const data: Forked = { run: run.id, from: point, ...after };
    await this.#journal.append([
      { kind: "create-run", run: fork },
      ...rows.map((event): Write => ({ kind: "event", event })),
      this.#row(id, rows.length + 1, "run.forked", data),
    ]);
    return fork;
  }

  /** The run and its children, which have ended with it. */
  async remove(run: RunRecord): Promise<void> {
    await this.#journal.append(
      (await this.#family(run)).map(({ id }) => ({ kind: "delete-run", runId: id })),
    );
  }

  async #family(run: RunRecord): Promise<readonly RunRecord[]> {
    if (!hasEnded(run.status))
      throw new WrongStatusError(run.id, run.status, "it must end before the run that started it is deleted");
    const family = [run];
    for (const child of await this.#journal.children(run.id)) family.push(...(await this.#family(child)));
    return family;
  }

  async #change(runId: string, kind: HistoryKind, data: unknown, patch: RunPatch): Promise<void> {
    const seq = (await this.#journal.lastSeq(runId)) + 1;
    await this.#journal.append([this.#row(runId, seq, kind, data), { kind: "patch-run", runId, patch }]);
  }

  #row(runId: string, seq: number, kind: HistoryKind, data: unknown): Extract<Write, { kind: "event" }> {
    const at = this.#clock.now();
    return {
      kind: "event",
      event: { runId, seq, at, kind, path: "", name: "", occurrence: 0, attempt: 0, data },
    };
  }
}

/** Throws InvalidInputError if history has no such call. */
function find(run: RunRecord, { rows }: Counting, from: StepPlace | undefined): RetryPoint {
  const point = findRetryPoint(run, rows, from);
  if (point !== undefined) return point;
  const place = `${from?.path ? `${from.path}/` : ""}${from?.name} (occurrence ${from?.occurrence ?? 0})`;
  throw new InvalidInputError("The step to go on from", [
    { path: "from", message: `run "${run.id}" has no recorded step ${place}` },
  ]);
}
