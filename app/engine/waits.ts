import type { RunStatus } from "./journal.ts";

/** What one call of a run is doing: an attempt that runs, or a wait that ends at `until` (null: only by a signal). */
type Activity =
  | { readonly kind: "working" }
  | { readonly kind: "sleeping"; readonly until: number }
  | { readonly kind: "waiting"; readonly until: number | null };

/** What a run's calls are doing just now, and so what its status is. */
export class Waits {
  readonly #activities = new Map<number, Activity>();
  readonly #cancels = new Set<() => void>();
  #nextId = 0;
  #closed = false;

  /** The returned function ends the activity. */
  begin(activity: Activity): () => void {
    const id = this.#nextId++;
    this.#activities.set(id, activity);
    return () => void this.#activities.delete(id);
  }

  /** Keeps a timer's cancel until the run is let go; the returned function cancels the timer and forgets it. */
  keep(cancel: () => void): () => void {
    if (this.#closed) cancel();
    else this.#cancels.add(cancel);
    return () => {
      this.#cancels.delete(cancel);
      cancel();
    };
  }

  close(): void {
    this.#closed = true;
    for (const cancel of this.#cancels) cancel();
    this.#cancels.clear();
  }

  /** `wakeAt` is the earliest moment at which a wait ends by itself, whatever else is going on. */
  summary(): { readonly status: RunStatus; readonly wakeAt: number | null } {
    const all = [...this.#activities.values()];
    const untils = all.flatMap((activity) =>
      "until" in activity && activity.until !== null ? [activity.until] : [],
    );
    const wakeAt = untils.length === 0 ? null : Math.min(...untils);
    if (all.length === 0 || all.some(({ kind }) => kind === "working")) return { status: "running", wakeAt };
    return { status: all.some(({ kind }) => kind === "waiting") ? "waiting" : "sleeping", wakeAt };
  }
}
