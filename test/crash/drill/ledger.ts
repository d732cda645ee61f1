import type { HistoryJson, RunJson } from "../../../app/http/run-json.ts";
import type { Plan } from "./plan.ts";

/** A promise that was not kept. The kinds that begin with `lost-` are acknowledged writes that are gone. */
export interface Violation {
  readonly kind:
    | "lost-run"
    | "lost-result"
    | "lost-row"
    | "lost-signal"
    | "unavailable"
    | "not-resumed"
    | "not-ended"
    | "second-run"
    | "unknown-run"
    | "wrong-end"
    | "ran-again"
    | "bad-answer";
  readonly what: string;
}

/** All that clients know of a run. */
export interface KnownRun {
  readonly plan: Plan;
  readonly round: number;
  /** Null until an answer has named it. */
  id: string | null;
  /** The start was answered 202 or 200 before the kill. */
  acknowledged: boolean;
  /** The answer that showed its end. */
  ended: RunJson | null;
  readonly rows: Map<number, HistoryJson>;
  signal: { readonly id: string | null } | null;
}

/** What clients were told over all rounds, and what was found to be otherwise. */
export class Ledger {
  readonly runs: KnownRun[] = [];
  readonly violations: Violation[] = [];
  /** Answers 503, which a client repeats. */
  refused = 0;
  readonly #byToken = new Map<string, KnownRun>();

  begin(plan: Plan, round: number): KnownRun {
    const run: KnownRun = {
      plan,
      round,
      id: null,
      acknowledged: false,
      ended: null,
      rows: new Map(),
      signal: null,
    };
    this.runs.push(run);
    this.#byToken.set(plan.input.token, run);
    return run;
  }

  violate(kind: Violation["kind"], what: string): void {
    this.violations.push({ kind, what });
  }

  /** The run that was started with that token. */
  byToken(token: unknown): KnownRun | undefined {
    return typeof token === "string" ? this.#byToken.get(token) : undefined;
  }

  ofTenant(tenant: string): readonly KnownRun[] {
    return this.runs.filter(({ plan }) => plan.tenant === tenant);
  }

  ofRound(round: number): readonly KnownRun[] {
    return this.runs.filter((run) => run.round === round);
  }
}
