import type { Clock } from "./clock.ts";
import type { HistoryEvent, Journal, Write } from "./journal.ts";

/** Between attempts to write what the file did not take (disk full, or locked for long). */
const firstRetryMs = 100;
const maxRetryMs = 5_000;

/** A row of history that has no place in it yet. */
export type NewEvent = Omit<HistoryEvent, "runId" | "seq" | "at">;

interface Entry {
  readonly row: NewEvent | null;
  /** Made when the row has its place; `event` is null if there is no row. */
  readonly also: (event: HistoryEvent | null) => readonly Write[];
  readonly done: (event: HistoryEvent | null) => void;
}

interface Transaction {
  readonly work: (tx: unknown) => Promise<NewEvent>;
  readonly done: (event: HistoryEvent) => void;
  readonly failed: (error: unknown) => void;
}

export interface RunLogOptions {
  readonly runId: string;
  readonly journal: Journal;
  readonly clock: Clock;
  readonly lastSeq: number;
  /** Told of each row when it gets its place, in order, before it is written. */
  readonly onRow: (event: HistoryEvent) => void;
  readonly onTrouble: (error: unknown) => void;
}

/**
 * A run's appends, in call order. What comes while one is under way goes out with the next, as one; an append that fails
 * is repeated until it succeeds or the run is let go, since what it records has happened.
 */
export class RunLog {
  readonly #options: RunLogOptions;
  #seq: number;
  #pending: (Entry | Transaction)[] = [];
  #draining: Promise<void> | null = null;
  #closed = false;

  constructor(options: RunLogOptions) {
    this.#options = options;
    this.#seq = options.lastSeq;
  }

  /** Resolves with the row when it is committed, and with it what `also` made of it; never, if the run is let go first. */
  append(row: NewEvent, also: (event: HistoryEvent) => readonly Write[] = () => []): Promise<HistoryEvent> {
    return new Promise((resolve) => {
      this.#push({
        row,
        also: (event: HistoryEvent | null) => (event === null ? [] : also(event)),
        done: (event: HistoryEvent | null) => void (event !== null && resolve(event)),
      });
    });
  }

  /** Writes that need no row. */
  write(writes: readonly Write[]): void {
    this.#push({ row: null, also: () => writes, done: () => {} });
  }

  /** Runs `work` in a transaction of the tenant's database, which commits with the row that `work` gives. */
  transact(work: (tx: unknown) => Promise<NewEvent>): Promise<HistoryEvent> {
    return new Promise((done, failed) => this.#push({ work, done, failed }));
  }

  /** The last row that has its place, be it committed or not. */
  get lastSeq(): number {
    return this.#seq;
  }

  get isIdle(): boolean {
    return this.#draining === null;
  }

  /** Resolves when nothing waits to be written. */
  async written(): Promise<void> {
    while (this.#draining !== null && !this.#closed) await this.#draining;
  }

  /** Nothing is written from now on. */
  close(): void {
    this.#closed = true;
  }

  #push(entry: Entry | Transaction): void {
    if (this.#closed) return;
    this.#pending.push(entry);
    this.#draining ??= this.#drain();
  }

  async #drain(): Promise<void> {
    while (this.#pending.length > 0 && !this.#closed) {
      const [first] = this.#pending;
      if (first !== undefined && "work" in first) {
        this.#pending.shift();
        await this.#transactOnce(first);
      } else await this.#appendTogether(this.#takeEntries());
    }
    this.#draining = null;
  }

  /** All that wait, up to the next transaction. */
  #takeEntries(): readonly Entry[] {
    const end = this.#pending.findIndex((entry) => "work" in entry);
    return this.#pending.splice(0, end === -1 ? this.#pending.length : end) as Entry[];
  }

  async #appendTogether(entries: readonly Entry[]): Promise<void> {
    const placed = entries.map(({ row, also, done }) => {
      const event = row === null ? null : this.#place(row);
      const writes: readonly Write[] =
        event === null ? also(null) : [{ kind: "event", event }, ...also(event)];
      return { event, writes, done };
    });
    await this.#appendUntilTaken(placed.flatMap(({ writes }) => writes));
    if (this.#closed) return;
    for (const { done, event } of placed) done(event);
  }

  async #transactOnce({ work, done, failed }: Transaction): Promise<void> {
    const { journal } = this.#options;
    let event: HistoryEvent | undefined;
    try {
      await journal.transaction(async (tx) => {
        const row = await work(tx);
        // Its place is taken only now: a transaction that failed leaves no gap.
        event = this.#event(row, this.#seq + 1);
        return [{ kind: "event", event }];
      });
    } catch (error) {
      if (!this.#closed) failed(error);
      return;
    }
    if (event === undefined) return;
    this.#seq = event.seq;
    if (this.#closed) return;
    this.#options.onRow(event);
    done(event);
  }

  #place(row: NewEvent): HistoryEvent {
    this.#seq += 1;
    const event = this.#event(row, this.#seq);
    this.#options.onRow(event);
    return event;
  }

  #event(row: NewEvent, seq: number): HistoryEvent {
    return { ...row, runId: this.#options.runId, seq, at: this.#options.clock.now() };
  }

  async #appendUntilTaken(writes: readonly Write[]): Promise<void> {
    const { journal, clock, onTrouble } = this.#options;
    for (let retryMs = firstRetryMs; !this.#closed; retryMs = Math.min(retryMs * 2, maxRetryMs)) {
      try {
        return await journal.append(writes);
      } catch (error) {
        onTrouble(error);
        await new Promise<void>((resolve) => clock.setTimer(clock.now() + retryMs, resolve));
      }
    }
  }
}
