import type { RunStatus } from "./journal.ts";

/** What one call of a run is doing: an attempt that runs, or a wait that ends at `until` (null: only by something that comes). */
type Activity =
  | { readonly kind: "working" }
  | { readonly kind: "sleeping"; readonly until: number }
  | { readonly kind: "waiting"; readonly until: number | null }
  /** Goes on beside all others, and says nothing of what the run does. */
  | { readonly kind: "deadline"; readonly until: number };

/** What one call does, from its beginning until the code has its outcome. */
export interface Doing {
  readonly become: (activity: Activity) => void;
  readonly end: () => void;
}

/** What a run's calls are doing just now, and so what its status is. */
export class Waits {
  #working = 0;
  #waiting = 0;
  readonly #untils = new Map<number, number>();
  #earliest: number | null = null;
  #asleep = 0;
  readonly #cancels = new Set<() => void>();
  #nextId = 0;
  #closed = false;

  /** A call begins with this activity. */
  begin(first: Activity): Doing {
    const id = this.#nextId++;
    let activity: Activity | null = first;
    this.#enter(id, first);
    return {
      become: (next) => {
        if (activity === null) return;
        this.#leave(id, activity);
        this.#enter(id, next);
        activity = next;
      },
      end: () => {
        if (activity === null) return;
        this.#leave(id, activity);
        activity = null;
      },
    };
  }

  /** Keeps a timer's cancel until the run is let go; the returned function forgets it. */
  keep(cancel: () => void): () => void {
    // What was recorded together with the run's end begins to wait after it.
    if (this.#closed) cancel();
    else this.#cancels.add(cancel);
    return () => void this.#cancels.delete(cancel);
  }

  close(): void {
    this.#closed = true;
    for (const cancel of this.#cancels) cancel();
    this.#cancels.clear();
  }

  /** `wakeAt` is the earliest moment at which a wait ends by itself, whatever else is going on. */
  summary(): { readonly status: RunStatus; readonly wakeAt: number | null } {
    if (Number.isNaN(this.#earliest)) this.#earliest = leastOf(this.#untils.values());
    const wakeAt = this.#earliest;
    if (this.#working > 0 || this.#waiting + this.#asleep === 0) return { status: "running", wakeAt };
    return { status: this.#waiting > 0 ? "waiting" : "sleeping", wakeAt };
  }

  #enter(id: number, activity: Activity): void {
    this.#count(activity, 1);
    const until = untilOf(activity);
    if (until === null) return;
    this.#untils.set(id, until);
    if (this.#earliest === null || until < this.#earliest) this.#earliest = until;
  }

  #leave(id: number, activity: Activity): void {
    this.#count(activity, -1);
    const until = untilOf(activity);
    // Looked for again only when the earliest of them has gone.
    if (until !== null && this.#untils.delete(id) && until === this.#earliest)
      this.#earliest = undefinedUntilAsked;
  }

  #count({ kind }: Activity, by: 1 | -1): void {
    if (kind === "working") this.#working += by;
    else if (kind === "waiting") this.#waiting += by;
    else if (kind === "sleeping") this.#asleep += by;
  }
}

function untilOf(activity: Activity): number | null {
  return activity.kind === "working" ? null : activity.until;
}

/** Says that the earliest wait must be looked for. */
const undefinedUntilAsked = Number.NaN;

function leastOf(values: Iterable<number>): number | null {
  let least: number | null = null;
  for (const value of values) if (least === null || value < least) least = value;
  return least;
}
