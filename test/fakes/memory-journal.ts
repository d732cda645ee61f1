import type {
  HistoryEvent,
  Journal,
  ListedRun,
  RunFilter,
  RunRecord,
  RunStatus,
  SignalRecord,
  UnfinishedRun,
  Write,
} from "../../app/engine/journal.ts";
import { hasEnded } from "../../app/engine/journal.ts";
import { turn } from "../../app/engine/turn.ts";
import { copyOf, type MemoryFile } from "./memory-file.ts";

/** What `step.tx` is given on this journal: a table of the user's. */
export interface MemoryTransaction {
  get(key: string): number | undefined;
  set(key: string, value: number): void;
}

interface Pending {
  readonly writes: readonly Write[];
  readonly done: () => void;
  readonly failed: (error: unknown) => void;
}

/** A journal in memory, over a file that outlives it. `ship` stands for replication: what it rejects with, `durable` does. */
export class MemoryJournal implements Journal {
  readonly #file: MemoryFile;
  readonly #ship: () => Promise<void>;
  #pending: Pending[] = [];
  #flushing = false;
  #killed = false;
  /** One operation at a time, as on the one connection to a file. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(file: MemoryFile, ship: () => Promise<void> = async () => {}) {
    this.#file = file;
    this.#ship = ship;
  }

  /** The process is gone: what is under way is never committed, and nothing is answered any more. */
  kill(): void {
    this.#killed = true;
  }

  append(writes: readonly Write[]): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#pending.push({ writes, done: resolve, failed: reject });
      if (!this.#flushing) void this.#flush();
    });
  }

  async transaction(work: (tx: unknown) => Promise<readonly Write[]>): Promise<void> {
    await this.#flushed();
    await this.#alone(async () => {
      const rows = new Map<string, number>();
      const tx: MemoryTransaction = {
        get: (key) => rows.get(key) ?? this.#file.state.rows.get(key),
        set: (key, value) => void rows.set(key, value),
      };
      const writes = await work(tx);
      if (this.#killed) return await never();
      for (const { kind } of writes)
        if (kind !== "event") throw new TypeError(`A transaction cannot commit "${kind}".`);
      this.#file.commit(writes, rows);
    });
  }

  async durable(): Promise<void> {
    await this.#flushed();
    const { commits } = this.#file;
    await this.#ship();
    if (this.#killed) return await never();
    this.#file.shipped(commits);
  }

  run(id: string): Promise<ListedRun | undefined> {
    return this.#read(({ runs }) => this.#listed(runs.get(id)));
  }

  runByIdempotencyKey(key: string): Promise<RunRecord | undefined> {
    return this.#read(({ runs }) => [...runs.values()].find((run) => run.idempotencyKey === key));
  }

  runs({ agent, status, before, limit }: RunFilter): Promise<readonly ListedRun[]> {
    return this.#read(({ runs }) =>
      [...runs.values()]
        .filter((run) => agent === undefined || run.agent === agent)
        .filter((run) => status === undefined || run.status === status)
        .filter((run) => before === undefined || run.id < before)
        .toSorted((a, b) => -byId(a, b))
        .slice(0, limit)
        .flatMap((run) => this.#listed(run) ?? []),
    );
  }

  unfinishedRuns(): Promise<readonly UnfinishedRun[]> {
    return this.#read(({ runs }) =>
      [...runs.values()]
        .filter(({ status }) => !hasEnded(status))
        .toSorted(byId)
        .map(({ id, agent, status, wakeAt }) => ({ id, agent, status, wakeAt })),
    );
  }

  history(
    runId: string,
    { after, limit }: { readonly after: number; readonly limit: number },
  ): Promise<readonly HistoryEvent[]> {
    return this.#read(({ history }) =>
      (history.get(runId) ?? []).filter(({ seq }) => seq > after).slice(0, limit),
    );
  }

  lastSeq(runId: string): Promise<number> {
    return this.#read(({ history }) => history.get(runId)?.at(-1)?.seq ?? 0);
  }

  runsToLookAt(): Promise<readonly string[]> {
    return this.#read(({ runs, signals }) => {
      const heard = new Set<string | null>();
      for (const { runId, takenBySeq } of signals.values()) if (takenBySeq === null) heard.add(runId);
      for (const { parent, status } of runs.values()) if (hasEnded(status)) heard.add(parent);
      return [...runs.values()]
        .filter((run) => run.status === "waiting" && heard.has(run.id))
        .map(({ id }) => id);
    });
  }

  orphans(): Promise<readonly string[]> {
    return this.#read(({ runs }) =>
      [...runs.values()]
        .filter(({ status, parent, startedAt, createdAt }) => {
          const awaitedBy = parent === null ? undefined : runs.get(parent);
          if (hasEnded(status) || awaitedBy === undefined || !hasEnded(awaitedBy.status)) return false;
          return (startedAt ?? createdAt) <= (awaitedBy.endedAt ?? 0);
        })
        .map(({ id }) => id),
    );
  }

  children(runId: string): Promise<readonly RunRecord[]> {
    return this.#read(({ runs }) =>
      [...runs.values()].filter(({ parent }) => parent === runId).toSorted(byId),
    );
  }

  inbox(runId: string): Promise<readonly SignalRecord[]> {
    return this.#read(({ signals }) =>
      [...signals.values()].filter((s) => s.runId === runId && s.takenBySeq === null).toSorted(byId),
    );
  }

  signalByIdempotencyKey(runId: string, key: string): Promise<SignalRecord | undefined> {
    return this.#read(({ signals }) =>
      [...signals.values()].find((signal) => signal.runId === runId && signal.idempotencyKey === key),
    );
  }

  countRunsByStatus(): Promise<Readonly<Partial<Record<RunStatus, number>>>> {
    return this.#read(({ runs }) => {
      const counts: Partial<Record<RunStatus, number>> = {};
      for (const { status } of runs.values()) counts[status] = (counts[status] ?? 0) + 1;
      return counts;
    });
  }

  #listed(run: RunRecord | undefined): ListedRun | undefined {
    if (run === undefined) return undefined;
    return { ...run, updatedAt: this.#file.state.history.get(run.id)?.at(-1)?.at ?? run.createdAt };
  }

  #read<Result>(work: (state: MemoryFile["state"]) => Result): Promise<Result> {
    return this.#alone(async () => copyOf(work(this.#file.state)));
  }

  #alone<Result>(work: () => Promise<Result>): Promise<Result> {
    const mine = this.#last.then(() => (this.#killed ? never() : work()));
    this.#last = mine.catch(() => {});
    return mine;
  }

  async #flushed(): Promise<void> {
    if (this.#flushing) await this.append([]).catch(() => {});
  }

  async #flush(): Promise<void> {
    this.#flushing = true;
    while (this.#pending.length > 0) {
      await turn();
      const batch = this.#pending;
      this.#pending = [];
      await this.#alone(async () => this.#commit(batch));
    }
    this.#flushing = false;
  }

  /** One commit for all; if a row is refused, one for each. */
  #commit(batch: readonly Pending[]): void {
    const writes = batch.flatMap((pending) => pending.writes);
    try {
      if (writes.length > 0) this.#file.commit(writes);
    } catch (error) {
      if (batch.length === 1) return batch[0]?.failed(error);
      for (const single of batch) this.#commit([single]);
      return;
    }
    for (const { done } of batch) done();
  }
}

function never(): Promise<never> {
  return new Promise(() => {});
}

function byId(a: { readonly id: string }, b: { readonly id: string }): number {
  return a.id < b.id ? -1 : Number(a.id > b.id);
}
