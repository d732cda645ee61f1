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

interface Commit {
  readonly writes: readonly Write[];
  readonly rows: ReadonlyMap<string, number>;
}

/** What the disk of a host holds of a tenant: commits in order, and how many of them a restore is sure to find. */
export class MemoryFile {
  #commits: Commit[] = [];
  #durable = 0;
  #state = new State();

  get state(): State {
    return this.#state;
  }

  get commits(): number {
    return this.#commits.length;
  }

  get durable(): number {
    return this.#durable;
  }

  /** All of it or, if a row is refused, nothing. */
  commit(writes: readonly Write[], rows: ReadonlyMap<string, number> = new Map()): void {
    this.#state.check(writes);
    const commit = { writes: writes.map(copyOf), rows };
    this.#commits.push(commit);
    this.#state.apply(commit);
  }

  /** The first `count` commits are in the store. */
  shipped(count: number): void {
    this.#durable = Math.max(this.#durable, count);
  }

  /** What a restore finds after the host was lost: the first `kept` commits, never fewer than are in the store. */
  loseAfter(kept: number): void {
    if (kept < this.#durable) throw new RangeError(`${this.#durable} commits are durable, not ${kept}`);
    this.#commits.length = Math.min(kept, this.#commits.length);
    this.#state = new State();
    for (const commit of this.#commits) this.#state.apply(commit);
  }
}

/** The tables. What is read from them are copies, as from any file. */
class State {
  readonly runs = new Map<string, RunRecord>();
  readonly history = new Map<string, HistoryEvent[]>();
  readonly signals = new Map<string, SignalRecord>();
  readonly rows = new Map<string, number>();

  /** Throws where a table's key is taken already. */
  check(writes: readonly Write[]): void {
    const taken = new Set<string>();
    for (const key of writes.flatMap((write) => this.#keysOf(write))) {
      if (key.isThere || taken.has(key.key)) throw new Error(`UNIQUE constraint failed: ${key.key}`);
      taken.add(key.key);
    }
  }

  apply({ writes, rows }: Commit): void {
    for (const write of writes) this.#applyOne(write);
    for (const [key, value] of rows) this.rows.set(key, value);
  }

  #keysOf(write: Write): readonly { readonly key: string; readonly isThere: boolean }[] {
    switch (write.kind) {
      case "create-run": {
        const { id, idempotencyKey: key } = write.run;
        const known = key !== null && [...this.runs.values()].some((run) => run.idempotencyKey === key);
        const own = { key: `runs.id ${id}`, isThere: this.runs.has(id) };
        return key === null ? [own] : [own, { key: `runs.idempotency_key ${key}`, isThere: known }];
      }
      case "event": {
        const { runId, seq } = write.event;
        const isThere = this.history.get(runId)?.some((event) => event.seq === seq) ?? false;
        return [{ key: `history ${runId} ${seq}`, isThere }];
      }
      case "create-signal": {
        const { id, runId, idempotencyKey: key } = write.signal;
        const own = { key: `signals.id ${id}`, isThere: this.signals.has(id) };
        if (key === null) return [own];
        const known = [...this.signals.values()].some((s) => s.runId === runId && s.idempotencyKey === key);
        return [own, { key: `signals ${runId} ${key}`, isThere: known }];
      }
      case "patch-run":
      case "take-signal":
      case "delete-run":
        return [];
      default:
        return write satisfies never;
    }
  }

  #applyOne(write: Write): void {
    switch (write.kind) {
      case "create-run":
        this.runs.set(write.run.id, write.run);
        break;
      case "patch-run": {
        const run = this.runs.get(write.runId);
        if (run !== undefined) this.runs.set(run.id, { ...run, ...write.patch });
        break;
      }
      case "event": {
        const rows = this.history.get(write.event.runId) ?? [];
        this.history.set(write.event.runId, rows);
        const behind = rows.findIndex(({ seq }) => seq > write.event.seq);
        rows.splice(behind === -1 ? rows.length : behind, 0, write.event);
        break;
      }
      case "create-signal":
        this.signals.set(write.signal.id, write.signal);
        break;
      case "take-signal": {
        const signal = this.signals.get(write.signalId);
        if (signal !== undefined) this.signals.set(signal.id, { ...signal, takenBySeq: write.bySeq });
        break;
      }
      case "delete-run":
        this.runs.delete(write.runId);
        this.history.delete(write.runId);
        for (const { id, runId } of this.signals.values()) if (runId === write.runId) this.signals.delete(id);
        break;
      default:
        write satisfies never;
    }
  }
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

/** Values are JSON, and `undefined` is kept. */
function copyOf<Value>(value: Value): Value {
  return structuredClone(value);
}
