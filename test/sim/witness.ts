import { rowsThatCount } from "../../app/engine/past.ts";
import { isFailure, isOutcome } from "../../app/engine/recorded-steps.ts";
import { idempotencyKeyOf, identityKey, type StepIdentity } from "../../app/engine/step-identity.ts";
import type { Durability, HistoryEvent, SignalRecord, Write } from "../../app/engine/journal.ts";
import type { MemoryFile } from "../fakes/memory-file.ts";

/** One append or transaction, as the engine asked for it. */
interface Group {
  readonly writes: readonly Write[];
}

/** What the outside world knows, and no crash may take back. It fails on the first thing that contradicts it. */
export class Witness {
  readonly #file: () => MemoryFile["state"];
  /** What the store has promised, in the order of the promises. */
  readonly #promised: Group[] = [];
  /** What was committed in this life, in order. */
  #committed: Group[] = [];
  #shipped = 0;
  /** Results that code has seen in this life, by run. */
  #seen = new Map<string, Map<string, string>>();
  /** How many of them the code had seen when it called a step, by the step's key. */
  readonly #restsOn = new Map<string, number>();
  /** Results that an effect rested on. */
  readonly #relied = new Map<string, Map<string, string>>();
  /** Signals that were acknowledged. */
  readonly #signals: { readonly id: string; readonly runId: string }[] = [];
  readonly #runs: string[] = [];
  /** Runs that were, or may have been, deleted: nothing is promised of them any more. */
  readonly deleted = new Set<string>();
  /** Runs whose past was changed from outside. */
  readonly changed = new Set<string>();

  readonly #durability: Durability;

  constructor(file: () => MemoryFile["state"], durability: Durability) {
    this.#file = file;
    this.#durability = durability;
  }

  /** The engine asks for it: it may be done although nobody hears of it. */
  asked(writes: readonly Write[]): void {
    for (const write of writes) if (write.kind === "delete-run") this.deleted.add(write.runId);
  }

  committed(writes: readonly Write[]): void {
    this.#committed.push({ writes });
    // The code is called from the start, and what it had seen is forgotten.
    for (const write of writes)
      if (write.kind === "event" && write.event.kind === "run.retraced") this.#seen.delete(write.event.runId);
  }

  /** What a call of `durable` that begins now promises. */
  mark(): number {
    return this.#committed.length;
  }

  durable(mark: number): void {
    for (; this.#shipped < mark; this.#shipped += 1) {
      const group = this.#committed[this.#shipped];
      if (group !== undefined) this.#promised.push(group);
    }
  }

  acknowledgedRun(id: string): void {
    this.#runs.push(id);
  }

  acknowledgedSignal(id: string, runId: string): void {
    this.#signals.push({ id, runId });
  }

  /** The code of a run has got a result. */
  settled(runId: string, identity: StepIdentity, result: unknown): void {
    const key = identityKey(identity);
    const text = JSON.stringify(result) ?? "undefined";
    const relied = this.#relied.get(runId)?.get(key);
    if (relied !== undefined && relied !== text && !this.changed.has(runId))
      throw new Violation(
        `run ${runId}: an effect rested on ${label(identity)} = ${relied}, now it is ${text}`,
      );
    const seen = this.#seen.get(runId) ?? new Map<string, string>();
    this.#seen.set(runId, seen.set(key, text));
  }

  /**
   * The code makes a call, whose name no other has. `before`: the calls that it may rest on. What a retry does not go by any
   * more must rest on something that is made anew.
   */
  made(runId: string, identity: StepIdentity, before: ReadonlySet<string>): void {
    const rows = this.#file().history.get(runId) ?? [];
    const key = identityKey(identity);
    const given = rows.findLast(
      (row) => identityKey(row) === key && isOutcome(row.kind) && !isFailure(row.kind),
    );
    const counting = rowsThatCount(rows).filter(({ kind }) => isOutcome(kind));
    if (given === undefined || counting.some((row) => identityKey(row) === key)) return;
    const kept = new Set(counting.filter(({ seq }) => seq < given.seq).map(identityKey));
    if ([...before].every((call) => kept.has(call)))
      throw new Violation(
        `run ${runId}: ${label(identity)} is made anew after a retry, row ${given.seq} has its result, and it rests on nothing that is`,
      );
  }

  /** The code calls a step: what it has seen by now is what the step's effects rest on. */
  called(runId: string, idempotencyKey: string): void {
    this.#restsOn.set(idempotencyKey, this.#seen.get(runId)?.size ?? 0);
  }

  /** A step has an effect. */
  attempt(runId: string, idempotencyKey: string, attempt: number): void {
    const rows = rowsThatCount(this.#file().history.get(runId) ?? []);
    for (const row of rows) {
      if (!row.kind.startsWith("step.") || idempotencyKeyOf(runId, row) !== idempotencyKey) continue;
      if (row.kind !== "step.retrying" || row.attempt >= attempt)
        throw new Violation(
          `attempt ${attempt} of ${idempotencyKey} begins, and history has ${row.kind} of ${row.attempt}`,
        );
    }
    // Effects do not wait for what they rest on.
    if (this.#durability === "local") return;
    const relied = this.#relied.get(runId) ?? new Map<string, string>();
    this.#relied.set(runId, relied);
    for (const key of relied.keys()) {
      const [path = "", name = "", occurrence = "0"] = key.split("\u0000");
      const known = idempotencyKeyOf(runId, { path, name, occurrence: Number(occurrence) });
      if (known === idempotencyKey && !this.changed.has(runId))
        throw new Violation(`${idempotencyKey} runs again, and an effect has rested on its result`);
    }
    const seen = [...(this.#seen.get(runId) ?? [])].slice(0, this.#restsOn.get(idempotencyKey));
    for (const [key, text] of seen) relied.set(key, text);
  }

  /** The process is gone; what the file holds now is what the next one finds. */
  crashed(): void {
    this.#seen = new Map();
    this.#restsOn.clear();
    this.#committed = [];
    this.#shipped = 0;
    this.checkPromises();
  }

  checkPromises(): void {
    const { runs, signals, history } = this.#file();
    for (const { writes } of this.#promised) for (const write of writes) this.#checkPromise(write);
    for (const id of this.#runs)
      if (!runs.has(id) && !this.deleted.has(id))
        throw new Violation(`run ${id} was acknowledged and is lost`);
    for (const { id, runId } of this.#signals) {
      const signal = signals.get(id);
      if (signal === undefined && !this.deleted.has(runId))
        throw new Violation(`signal ${id} of run ${runId} was acknowledged and is lost`);
    }
    for (const signal of signals.values()) checkTaken(signal, history.get(signal.runId) ?? []);
  }

  #checkPromise(write: Write): void {
    const { runs, history, signals } = this.#file();
    if (write.kind === "delete-run" && runs.has(write.runId))
      throw new Violation(`run ${write.runId} was deleted, durably, and is there`);
    if (write.kind === "create-run" && !runs.has(write.run.id) && !this.deleted.has(write.run.id))
      throw new Violation(`run ${write.run.id} of ${write.run.agent} was made, durably, and is not there`);
    if (write.kind === "event") {
      const { runId, seq } = write.event;
      if (this.deleted.has(runId)) return;
      const row = history.get(runId)?.find((event) => event.seq === seq);
      if (JSON.stringify(row) !== JSON.stringify(write.event))
        throw new Violation(
          `row ${seq} of run ${runId} was durable as ${JSON.stringify(write.event)}, now ${JSON.stringify(row)}`,
        );
    }
    if (write.kind !== "take-signal") return;
    const signal = signals.get(write.signalId);
    // One that is not there went with its run, or is missed as one that was acknowledged.
    if (signal !== undefined && signal.takenBySeq !== write.bySeq)
      throw new Violation(
        `signal ${write.signalId} was taken by row ${write.bySeq}, durably, and is not any more`,
      );
  }
}

/** A promise of the engine's that was broken. */
export class Violation extends Error {
  override readonly name = "Violation";
}

/** One row tells of a signal that was taken, the one that it names; none tells of one that was not. */
function checkTaken({ id, name, payload, takenBySeq }: SignalRecord, rows: readonly HistoryEvent[]): void {
  const text = JSON.stringify(payload);
  const takers = rows.filter(
    ({ kind, data }) =>
      kind === "signal.received" && JSON.stringify((data as { payload: unknown }).payload) === text,
  );
  // A fork shares the row of a signal that its original had.
  const seqs = takers.map(({ seq }) => seq);
  const expected = takenBySeq === null ? [] : [takenBySeq];
  if (JSON.stringify(seqs) !== JSON.stringify(expected))
    throw new Violation(
      `signal ${id} "${name}" is taken by row ${takenBySeq}, and told of by rows ${seqs.join(", ")}`,
    );
}

function label({ path, name, occurrence }: StepIdentity): string {
  return `${path}/${name}#${occurrence}`;
}
