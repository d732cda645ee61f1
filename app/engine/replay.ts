import type { Clock } from "./clock.ts";
import type { HistoryEvent } from "./journal.ts";
import type { CallKind, RecordedCall, RecordedSteps } from "./recorded-steps.ts";
import type { StepIdentity } from "./step-identity.ts";
import { turn } from "./turn.ts";

/** Code may await other things between steps; recorded calls not yet made hold new ones back for so long, then it is a mismatch. */
const mismatchAfterMs = 1_000;

/** The code of a run no longer matches its history. */
export class MismatchError extends Error {
  override readonly name = "MismatchError";
}

type Settle = (event: HistoryEvent) => void;

export interface ReplayEvents {
  mismatch(error: MismatchError): void;
  /** All that could be handed out was, and the code has gone on as far as it can. */
  idle(): void;
}

/**
 * Hands a run's recorded outcomes back to its code, one at a time, in the order in which they were recorded, and holds
 * new calls back until the last of them was handed out. Live outcomes go through the same door afterwards, so that code
 * which races its steps takes the same turns in a replay.
 */
export class Replay {
  readonly #recorded: RecordedSteps;
  readonly #clock: Clock;
  readonly #on: ReplayEvents;
  readonly #askers = new Map<number, Settle>();
  readonly #live: (() => void)[] = [];
  #held: { readonly describe: string; readonly release: () => void }[] = [];
  #cursor = 0;
  #pumping = false;
  #cancelTimer: (() => void) | null = null;
  #closed = false;

  constructor(recorded: RecordedSteps, clock: Clock, on: ReplayEvents) {
    this.#recorded = recorded;
    this.#clock = clock;
    this.#on = on;
  }

  get replaying(): boolean {
    return this.#cursor < this.#recorded.outcomes.length;
  }

  /** Marks the call as made, and gives what history knows of it. Reports a call that was recorded as another kind. */
  ask(identity: StepIdentity, kind: CallKind): RecordedCall | undefined {
    const call = this.#recorded.find(identity);
    if (call === undefined) return undefined;
    if (call.kind !== kind)
      this.#report(`the code asks for ${kind} "${identity.name}", history has a ${call.kind} of that name`);
    call.asked = true;
    return call;
  }

  /** Calls `settle` with the recorded outcome when its turn has come. */
  settleInOrder(outcome: HistoryEvent, settle: Settle): void {
    this.#askers.set(outcome.seq, settle);
    void this.#pump();
  }

  /** Resolves when every recorded outcome was handed out: from then on the run is live. */
  frontier(describe: string): Promise<void> {
    if (!this.replaying) return Promise.resolve();
    return new Promise((resolve) => {
      this.#held.push({ describe, release: resolve });
      void this.#pump();
    });
  }

  /** Runs `settle` after those before it, each followed by a turn of the event loop. */
  deliver(settle: () => void): void {
    this.#live.push(settle);
    void this.#pump();
  }

  /** Resolves `true` if the code has made every recorded call; otherwise reports the mismatch. */
  checkEnd(): boolean {
    const unasked = this.#recorded.firstUnasked();
    if (unasked === null) return true;
    this.#report(`the code ended without asking for ${unasked}, which history has`);
    return false;
  }

  close(): void {
    this.#closed = true;
    this.#cancelTimer?.();
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
    if (!this.#closed && !this.#pumping && !this.replaying) this.#on.idle();
  }

  #next(): (() => void) | undefined {
    const event = this.#recorded.outcomes[this.#cursor];
    if (event === undefined) return this.#live.shift();
    const asker = this.#askers.get(event.seq);
    if (asker === undefined) return undefined;
    this.#askers.delete(event.seq);
    this.#cursor += 1;
    this.#cancelTimer?.();
    this.#cancelTimer = null;
    return () => asker(event);
  }

  #releaseHeld(): void {
    if (this.#closed || this.#held.length === 0) return;
    const missing = this.#recorded.outcomes[this.#cursor];
    if (missing !== undefined) {
      this.#cancelTimer ??= this.#clock.setTimer(this.#clock.now() + mismatchAfterMs, () =>
        this.#report(
          `the code asks for ${this.#held[0]?.describe}, history has ${missing.kind} "${missing.name}" at row ${missing.seq}, which the code did not ask for`,
        ),
      );
      return;
    }
    const held = this.#held;
    this.#held = [];
    for (const { release } of held) release();
  }

  #report(what: string): void {
    if (this.#closed) return;
    this.close();
    this.#on.mismatch(new MismatchError(`The agent's code no longer matches the run's history: ${what}.`));
  }
}
