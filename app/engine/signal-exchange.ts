import type { StandardSchemaV1 } from "@standard-schema/spec";
import { InvalidInputError, type Issue } from "./errors.ts";
import type { HistoryEvent, HistoryKind, SignalRecord, Write } from "./journal.ts";
import { checkValue } from "./schema.ts";
import { serializeError } from "./serialized-error.ts";
import type { StepIdentity } from "./step-identity.ts";

/** A step that waits for a signal. */
export interface SignalWaiter {
  readonly signal: string;
  readonly schema: StandardSchemaV1 | undefined;
  readonly identity: StepIdentity;
  readonly settle: (event: HistoryEvent) => void;
}

interface Waiting {
  readonly waiter: SignalWaiter;
  readonly onLeave: () => void;
}

type RecordSignal = (
  kind: HistoryKind,
  identity: StepIdentity,
  row: { readonly data: unknown },
  also: (event: HistoryEvent) => readonly Write[],
) => Promise<HistoryEvent>;

/** The signals of a run that nobody has taken, and the steps that wait for them; the oldest of each meet. */
export class SignalExchange {
  readonly #record: RecordSignal;
  /** Told when nothing is being brought together any more. */
  readonly #idle: () => void;
  readonly #inbox: SignalRecord[];
  readonly #seen: Set<string>;
  #waiters: Waiting[] = [];
  #matching = false;

  constructor(
    inbox: readonly SignalRecord[],
    { record, idle }: { readonly record: RecordSignal; readonly idle: () => void },
  ) {
    this.#record = record;
    this.#idle = idle;
    this.#inbox = [...inbox];
    this.#seen = new Set(inbox.map(({ id }) => id));
  }

  /** Whether a signal and a step are being brought together. */
  get isMatching(): boolean {
    return this.#matching;
  }

  /** The returned function takes the waiter out, and says whether it was still waiting. */
  join(waiter: SignalWaiter, onLeave: () => void): () => boolean {
    const entry = { waiter, onLeave };
    this.#waiters.push(entry);
    void this.#match();
    return () => this.#remove(entry);
  }

  /** A signal was committed to the inbox. */
  receive(signal: SignalRecord): void {
    if (this.#seen.has(signal.id)) return;
    this.#seen.add(signal.id);
    this.#inbox.push(signal);
    void this.#match();
  }

  /** Throws InvalidInputError if the step that would take the signal now refuses its payload. */
  async check(name: string, payload: unknown): Promise<void> {
    const schema = this.#waiters.find(({ waiter }) => waiter.signal === name)?.waiter.schema;
    await checkValue(schema, payload, `The payload of signal "${name}"`);
  }

  async #match(): Promise<void> {
    if (this.#matching) return;
    this.#matching = true;
    for (let pair = this.#nextPair(); pair !== undefined; pair = this.#nextPair())
      await this.#take(pair.entry, pair.signal);
    this.#matching = false;
    this.#idle();
  }

  #nextPair(): { entry: Waiting; signal: SignalRecord } | undefined {
    for (const entry of this.#waiters) {
      const signal = this.#inbox.find(({ name }) => name === entry.waiter.signal);
      if (signal !== undefined) return { entry, signal };
    }
    return undefined;
  }

  async #take(entry: Waiting, signal: SignalRecord): Promise<void> {
    const { waiter } = entry;
    this.#inbox.splice(this.#inbox.indexOf(signal), 1);
    const checked = await payloadFor(waiter, signal);
    const take = (event: HistoryEvent) =>
      [{ kind: "take-signal", signalId: signal.id, bySeq: event.seq }] as const;
    if ("issues" in checked) {
      // It came before anybody waited for it, so nobody could refuse it at the door.
      const data = { signal: signal.name, issues: checked.issues };
      await this.#record("signal.rejected", waiter.identity, { data }, take);
      return;
    }
    if (!this.#remove(entry)) {
      // The waiter's time ran out while its schema was at work: the signal is for the next one.
      this.#inbox.unshift(signal);
      return;
    }
    const data = { payload: checked.payload, at: new Date(signal.at).toISOString() };
    waiter.settle(await this.#record("signal.received", waiter.identity, { data }, take));
  }

  #remove(entry: Waiting): boolean {
    const index = this.#waiters.indexOf(entry);
    if (index === -1) return false;
    this.#waiters.splice(index, 1);
    entry.onLeave();
    return true;
  }
}

/** Never throws: a schema that is out of order must not leave all signals of the run untaken. */
async function payloadFor(
  waiter: SignalWaiter,
  signal: SignalRecord,
): Promise<{ readonly payload: unknown } | { readonly issues: readonly Issue[] }> {
  if (waiter.schema === undefined) return { payload: signal.payload };
  try {
    return {
      payload: await checkValue(waiter.schema, signal.payload, `The payload of signal "${signal.name}"`),
    };
  } catch (error) {
    if (error instanceof InvalidInputError) return { issues: error.issues };
    return { issues: [{ path: "", message: `The schema threw: ${serializeError(error).message}` }] };
  }
}
