import type { Clock } from "./clock.ts";
import type { HistoryEvent } from "./journal.ts";
import type { Retraced } from "./past.ts";
import type { CallKind, RecordedCall, RecordedSteps } from "./recorded-steps.ts";
import { Retrace } from "./retrace.ts";
import type { Retracing } from "./retry-point.ts";
import type { StepIdentity } from "./step-identity.ts";
import { turn } from "./turn.ts";

/**
 * Code may await other things between steps: recorded calls not yet made hold new ones back for a second, then it is a
 * mismatch. Counted in ticks, so that a blocked event loop, which stops the code too, is not taken for a lapse of time.
 */
const mismatchTicks = 10;
const mismatchTickMs = 100;

/** The code of a run no longer matches its history. */
export class MismatchError extends Error {
  override readonly name = "MismatchError";
}

type Settle = (event: HistoryEvent) => void;

export interface ReplayEvents {
  mismatch(error: MismatchError): void;
  /** A retry's replay has found out more of what counts: that is to be recorded, and the run replayed by it. */
  retraced(found: Retraced): void;
  /** All that could be handed out was, and the code has gone on as far as it can. */
  idle(): void;
}

/**
 * Hands a run's recorded outcomes back to its code, one at a time, in the order in which they were recorded, and holds
 * new calls back until the last of them was handed out and every recorded call was made. Live outcomes go through the
 * same door afterwards, in the same order, so that code which races its steps takes the same turns in a replay.
 */
export class Replay {
  readonly #recorded: RecordedSteps;
  /** Not null: no new call is made in this replay. */
  readonly #retrace: Retrace | null;
  readonly #clock: Clock;
  readonly #on: ReplayEvents;
  /** Who waits for an outcome, by its row. */
  readonly #askers = new Map<number, () => void>();
  /** The rows of live outcomes that were not handed out yet, in order. */
  readonly #live: number[] = [];
  #held: { readonly describe: string; readonly release: () => void }[] = [];
  #cursor = 0;
  #pumping = false;
  /** Calls that were held back go on in this turn. */
  #releasing = false;
  #cancelTimer: (() => void) | null = null;
  #closed = false;

  constructor(
    { recorded, retracing }: { readonly recorded: RecordedSteps; readonly retracing: Retracing | null },
    clock: Clock,
    on: ReplayEvents,
  ) {
    this.#recorded = recorded;
    this.#retrace = retracing === null ? null : new Retrace(recorded, retracing);
    this.#clock = clock;
    this.#on = on;
  }

  get replaying(): boolean {
    return this.#retrace !== null || this.#hasMore;
  }

  /** Whether calls are being handed their outcomes, or held back until others were. */
  get settling(): boolean {
    return this.#pumping || this.#releasing || this.#held.length > 0;
  }

  /** Whether a new call may begin at once: history has nothing more to say, and no call that came before is held back. */
  get isLive(): boolean {
    return !this.replaying && this.#held.length === 0;
  }

  /** Marks the call as made, and gives what history knows of it. Reports a call that was recorded as another kind. */
  ask(identity: StepIdentity, kind: CallKind): RecordedCall | undefined {
    const call = this.#recorded.ask(identity);
    // It may be the last one that history has: nothing else would let go of those that were held back for it.
    if (call !== undefined && this.#held.length > 0 && !this.replaying) void this.#pump();
    if (call !== undefined && call.kind !== kind)
      this.#report(`the code asks for ${kind} "${identity.name}", history has a ${call.kind} of that name`);
    return call;
  }

  /** An outcome gets its row just now: it will be handed out after those with earlier rows. */
  expect(seq: number): void {
    this.#live.push(seq);
  }

  /** Calls `settle` with the outcome, recorded before or expected, when its turn has come; a turn of the event loop follows. */
  settleInOrder(outcome: HistoryEvent, settle: Settle): void {
    this.#askers.set(outcome.seq, () => settle(outcome));
    void this.#pump();
  }

  /** Resolves when history has nothing more to say, in the order of the calls: from then on the run is live. */
  frontier(describe: string): Promise<void> {
    if (this.isLive) return Promise.resolve();
    return new Promise((resolve) => {
      this.#held.push({ describe, release: resolve });
      void this.#pump();
    });
  }

  /** Whether the run may end as its code has; otherwise reports the mismatch, or what a retry's replay has found by it. */
  checkEnd(ending: { readonly output: unknown } | { readonly thrown: unknown }): boolean {
    const unasked = this.#recorded.firstUnasked();
    if (unasked !== null && this.#retraced(this.#retrace?.stuckAt(this.#cursor))) return false;
    if (unasked === null)
      return !("thrown" in ending && this.#retraced(this.#retrace?.thrownAt(this.#cursor, ending.thrown)));
    this.#report(`the code ended without asking for ${unasked}, which history has`);
    return false;
  }

  close(): void {
    this.#closed = true;
    this.#stopTimer();
  }

  /** Whether history has calls that the code has not made, or outcomes that it was not given. */
  get #hasMore(): boolean {
    return this.#cursor < this.#recorded.outcomes.length || !this.#recorded.allAsked;
  }

  async #pump(): Promise<void> {
    if (this.#pumping) return;
    this.#pumping = true;
    // A turn first in a replay: calls that the code makes together are all known before one of them is settled.
    if (this.replaying) await turn();
    while (!this.#closed) {
      const settle = this.#next();
      if (settle === undefined) break;
      settle();
      await turn();
    }
    this.#pumping = false;
    this.#releaseHeld();
    await turn();
    this.#releasing = false;
    if (!this.#closed && !this.#pumping && !this.replaying) this.#on.idle();
  }

  #next(): (() => void) | undefined {
    const recorded = this.#recorded.outcomes[this.#cursor]?.seq;
    const seq = recorded ?? this.#live[0];
    const settle = seq === undefined ? undefined : this.#askers.get(seq);
    if (seq === undefined || settle === undefined) return undefined;
    if (recorded !== undefined && this.#retraced(this.#retrace?.turnOf(this.#cursor))) return undefined;
    this.#askers.delete(seq);
    if (recorded === undefined) this.#live.shift();
    else this.#cursor += 1;
    this.#stopTimer();
    return settle;
  }

  #releaseHeld(): void {
    if (this.#closed) return;
    if (this.#hasMore) {
      const somethingWaits = this.#held.length > 0 || this.#askers.size > 0;
      if (somethingWaits && this.#cancelTimer === null) this.#awaitCalls(mismatchTicks);
      return;
    }
    this.#stopTimer();
    if (this.#held.length > 0 && this.#retraced(this.#retrace?.allCounts())) return;
    const held = this.#held;
    this.#held = [];
    this.#releasing = held.length > 0;
    for (const { release } of held) release();
  }

  #awaitCalls(ticksLeft: number): void {
    this.#cancelTimer = this.#clock.setTimer(this.#clock.now() + mismatchTickMs, () => {
      if (ticksLeft > 1) return this.#awaitCalls(ticksLeft - 1);
      if (this.#retraced(this.#retrace?.stuckAt(this.#cursor))) return;
      const [first] = this.#held;
      const instead =
        first === undefined ? "the code waits for later calls" : `the code asks for ${first.describe}`;
      this.#report(
        `${instead}, history has ${this.#recorded.firstUnasked()}, which the code did not ask for`,
      );
    });
  }

  #stopTimer(): void {
    this.#cancelTimer?.();
    this.#cancelTimer = null;
  }

  /** Whether something was found: then this replay is over. */
  #retraced(found: Retraced | null | undefined): boolean {
    if (found === null || found === undefined || this.#closed) return false;
    this.close();
    this.#on.retraced(found);
    return true;
  }

  #report(what: string): void {
    if (this.#closed) return;
    this.close();
    this.#on.mismatch(
      new MismatchError(
        `The agent's code no longer matches the run's history: ${what}. Mend the code so that it fits again, then resume the run.`,
      ),
    );
  }
}
