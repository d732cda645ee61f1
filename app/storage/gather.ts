import { setImmediate as turn } from "node:timers/promises";

/** What is known when a sync could be sent. */
export interface BeforeSync {
  /** Settles when the round whose proof is on its way is over; null if none is. Never rejects. */
  readonly passing: Promise<void> | null;
  /** Grows with every commit and with everyone who asks to pass. */
  readonly activity: () => number;
  /** What a sync, and the proof after it, took of late. */
  readonly syncMs: number;
  readonly proofMs: number;
  readonly now: () => number;
}

/**
 * A row takes a turn of the event loop until it is committed, a step's outcome another until the code goes on: whoever
 * goes on is heard of within so many turns.
 */
const quietTurns = 3;
/** Parts of a sync's time: a proof that takes more of it is better spent on the next sync. */
const shortProof = 0.6;
const longestGathering = 0.5;
/** One slow sync must not hold back those after it. */
const maxHoldMs = 100;

/**
 * Resolves when the next sync should be sent. Those whom a proof lets go come back at once, for their next step: a sync
 * that was sent just before leaves them behind, and they take turns with those in it for ever, at two syncs a step instead
 * of a sync and a proof. So while a proof is short beside a sync, the next sync waits for it, and then until nobody new
 * comes. Takes no longer than one and a half syncs, and 200 ms.
 */
export async function gather({ passing, activity, syncMs, proofMs, now }: BeforeSync): Promise<void> {
  if (passing !== null && proofMs < syncMs * shortProof)
    await settledWithin(passing, Math.min(syncMs, maxHoldMs));
  const until = now() + Math.min(syncMs * longestGathering, maxHoldMs);
  let seen = activity();
  for (let quiet = 0; quiet < quietTurns && now() <= until;) {
    await turn();
    quiet = activity() === seen ? quiet + 1 : 0;
    seen = activity();
  }
}

async function settledWithin(passing: Promise<void>, limitMs: number): Promise<void> {
  const limit = Promise.withResolvers<void>();
  const timer = setTimeout(limit.resolve, limitMs);
  await Promise.race([passing, limit.promise]);
  clearTimeout(timer);
}
