import type { HistoryEvent, HistoryKind } from "./journal.ts";
import { identityKey, type StepIdentity } from "./step-identity.ts";

export type CallKind = "step" | "sleep" | "signal";

/** What history knows of one durable call. */
export interface RecordedCall {
  readonly kind: CallKind;
  /** The row that settles the call, if it came to that. */
  outcome: HistoryEvent | null;
  /** `sleep.started`, `signal.waiting` or the latest `step.retrying`. */
  progress: HistoryEvent | null;
  asked: boolean;
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
};

/** A run's history as replay needs it: each call's record, and the outcomes in the order in which they resolved. */
export class RecordedSteps {
  readonly outcomes: readonly HistoryEvent[];
  readonly #calls = new Map<string, RecordedCall>();

  constructor(history: readonly HistoryEvent[]) {
    const outcomes: HistoryEvent[] = [];
    for (const event of history) {
      const meaning = kindOfEvent[event.kind];
      if (meaning === undefined) continue;
      const key = identityKey(event);
      const call = this.#calls.get(key) ?? {
        kind: meaning.call,
        outcome: null,
        progress: null,
        asked: false,
      };
      this.#calls.set(key, call);
      if (meaning.settles) {
        call.outcome = event;
        outcomes.push(event);
      } else call.progress = event;
    }
    this.outcomes = outcomes;
  }

  find(identity: StepIdentity): RecordedCall | undefined {
    return this.#calls.get(identityKey(identity));
  }

  /** A call that history has and the code never made, for the report of a mismatch. */
  firstUnasked(): string | null {
    for (const [key, call] of this.#calls) if (!call.asked) return readable(key, call.kind);
    return null;
  }
}

function readable(key: string, kind: CallKind): string {
  const [path, name, occurrence] = key.split("\u0000");
  return `${kind} "${path === "" ? "" : `${path}/`}${name}"${occurrence === "0" ? "" : ` (call ${Number(occurrence) + 1})`}`;
}
