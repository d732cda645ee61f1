import type { HistoryEvent } from "./journal.ts";
import type { Retraced } from "./past.ts";
import { isFailure, type RecordedCall, type RecordedSteps } from "./recorded-steps.ts";
import { lastFailure, stepOf, type Retracing } from "./retry-point.ts";
import { serializeError } from "./serialized-error.ts";

/**
 * Finds out, in the first replay after a retry, which rows count. Rows alone cannot tell a branch that went on beside a
 * failure from code that rested on it: here the code is given all but the failure, makes no call, and shows what it asks for.
 * Each finding is recorded, and the run is replayed by it from the start, so that every later replay goes by the same rows.
 */
export class Retrace {
  readonly #recorded: RecordedSteps;
  readonly #after: number;

  constructor(recorded: RecordedSteps, { after }: Retracing) {
    this.#recorded = recorded;
    this.#after = after;
  }

  /**
   * The turn of this outcome has come. A failure that the code meets when it has made its last recorded call is made anew,
   * and all failures after it: nothing recorded rests on them. Null if it is no such failure.
   */
  turnOf(place: number): Retraced | null {
    const outcome = this.#recorded.outcomes[place];
    if (outcome === undefined || !isFailure(outcome.kind) || !this.#recorded.allAsked) return null;
    const failures = this.#recorded.outcomes.slice(place).filter(({ kind }) => isFailure(kind));
    return this.#found(
      failures.flatMap((failure) => this.#recorded.callOf(failure) ?? []),
      true,
    );
  }

  /**
   * The code has gone as far as it can before the outcome at `place`. Null if it was all that counts, or if it did not ask
   * for what it cannot do without.
   */
  stuckAt(place: number): Retraced | null {
    const { unasked, outcomes } = this.#recorded;
    if (unasked.size === 0 || [...unasked].some((call) => !this.#mayBeMissed(call))) return null;
    const next: RecordedCall[] = [];
    for (const outcome of outcomes.slice(place)) {
      const call = this.#recorded.callOf(outcome);
      if (call === undefined || !unasked.has(call)) break;
      next.push(call);
    }
    return this.#found(this.#withNamesakes(next.length > 0 ? next : [...unasked]), false);
  }

  /**
   * The code has thrown without making a call, when it had been given the outcomes before `place`: the run would fail as it
   * did. Null if no failure was among those.
   */
  thrownAt(place: number, thrown: unknown): Retraced | null {
    const given = this.#recorded.outcomes.slice(0, place);
    const failure = lastFailure(given, stepOf(serializeError(thrown))) ?? lastFailure(given, undefined);
    const call = failure === undefined ? undefined : this.#recorded.callOf(failure);
    if (failure === undefined || call === undefined) return null;
    return this.#found([call], false, Math.min(this.#after, failure.seq));
  }

  /** All that is left counts. */
  allCounts(): Retraced {
    return this.#found([], true);
  }

  #found(calls: readonly RecordedCall[], done: boolean, after = this.#after): Retraced {
    const dropped = calls.flatMap(({ rows }) => rows.map(({ seq }) => seq));
    return { dropped: dropped.toSorted((one, other) => one - other), after, done };
  }

  #mayBeMissed({ rows: [first] }: RecordedCall): boolean {
    return first !== undefined && first.seq > this.#after;
  }

  /**
   * Calls of one name are told apart by their order alone. Where one of them is missed, parallel code may have been given
   * what came of the failure: then none of them is sure.
   */
  #withNamesakes(missed: readonly RecordedCall[]): readonly RecordedCall[] {
    const names = new Set(missed.map(nameOf));
    return [...this.#recorded.calls].filter((call) => this.#mayBeMissed(call) && names.has(nameOf(call)));
  }
}

/** The call's path and name, without the count of a `step.map` among those of its name. */
function nameOf({ rows: [first] }: RecordedCall): string {
  const { path, name } = first as HistoryEvent;
  return `${path.replaceAll(/#\d+(?=:\d+(?:\/|$))/g, "")}\u0000${name}`;
}
