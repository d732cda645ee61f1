import type { HistoryEvent, RunRecord, SignalRecord, Write } from "../../app/engine/journal.ts";

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

/** Values are JSON, and `undefined` is kept. */
export function copyOf<Value>(value: Value): Value {
  return structuredClone(value);
}
