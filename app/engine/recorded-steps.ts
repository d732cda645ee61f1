import type { HistoryEvent, HistoryKind } from "./journal.ts";
import { identityKey, type StepIdentity } from "./step-identity.ts";

export type CallKind = "step" | "sleep" | "signal" | "child" | "start" | "value";

/** What history knows of one durable call. */
export interface RecordedCall {
  readonly kind: CallKind;
  /** All its rows, in order: there is at least one. */
  readonly rows: HistoryEvent[];
  /** The row that settles the call, if it came to that. */
  outcome: HistoryEvent | null;
  /** `sleep.started`, `signal.waiting`, `child.started` or the latest `step.retrying`. */
  progress: HistoryEvent | null;
}

/** Whether a row of this kind tells of a durable call. */
export function isOfCall(kind: HistoryKind): boolean {
  return kindOfEvent[kind] !== undefined;
}

/** Whether a row of this kind says that a call has failed for good. */
export function isFailure(kind: HistoryKind): boolean {
  return kind === "step.failed" || kind === "child.failed";
}

/** Whether a row of this kind settles the call that it names. */
export function isOutcome(kind: HistoryKind): boolean {
  return kindOfEvent[kind]?.settles ?? false;
}

const kindOfEvent: Partial<Record<HistoryKind, { readonly call: CallKind; readonly settles: boolean }>> = {
  "step.completed": { call: "step", settles: true },
  "step.failed": { call: "step", settles: true },
  "step.retrying": { call: "step", settles: false },
  "sleep.started": { call: "sleep", settles: false },
  "sleep.ended": { call: "sleep", settles: true },
  "signal.waiting": { call: "signal", settles: false },
  "signal.received": { call: "signal", settles: true },
  "signal.timed_out": { call: "signal", settles: true },
  "child.started": { call: "child", settles: false },
  "child.completed": { call: "child", settles: true },
  "child.failed": { call: "child", settles: true },
  "child.detached": { call: "start", settles: true },
  "value.recorded": { call: "value", settles: true },
};

/** A run's history as replay needs it: each call's record, and the outcomes in the order in which they resolved. */
export class RecordedSteps {
  readonly outcomes: readonly HistoryEvent[];
  readonly #calls = new Map<string, RecordedCall>();
  /** Those that the code has yet to make. */
  readonly #unasked: Set<RecordedCall>;

  constructor(history: readonly HistoryEvent[]) {
    const outcomes: HistoryEvent[] = [];
    for (const event of history) {
      const meaning = kindOfEvent[event.kind];
      if (meaning === undefined) continue;
      const key = identityKey(event);
      const call = this.#calls.get(key) ?? { kind: meaning.call, rows: [], outcome: null, progress: null };
      this.#calls.set(key, call);
      call.rows.push(event);
      if (meaning.settles) {
        call.outcome = event;
        outcomes.push(event);
      } else call.progress = event;
    }
    this.outcomes = outcomes;
    this.#unasked = new Set(this.#calls.values());
  }

  get calls(): Iterable<RecordedCall> {
    return this.#calls.values();
  }

  /** Those that the code has not made yet. */
  get unasked(): ReadonlySet<RecordedCall> {
    return this.#unasked;
  }

  callOf(event: HistoryEvent): RecordedCall | undefined {
    return this.#calls.get(identityKey(event));
  }

  get allAsked(): boolean {
    return this.#unasked.size === 0;
  }

  /** The code makes the call: what history knows of it. */
  ask(identity: StepIdentity): RecordedCall | undefined {
    const call = this.#calls.get(identityKey(identity));
    if (call !== undefined) this.#unasked.delete(call);
    return call;
  }

  /** The first call that history has and the code has not made, for the report of a mismatch. */
  firstUnasked(): string | null {
    const [call] = this.#unasked;
    const event = call?.outcome ?? call?.progress;
    if (call === undefined || event == null) return null;
    const { path, name, occurrence, kind, seq } = event;
    const place = path === "" ? name : `${path}/${name}`;
    return `${call.kind} "${place}"${occurrence === 0 ? "" : ` (call ${occurrence + 1})`} (${kind} at row ${seq})`;
  }
}
