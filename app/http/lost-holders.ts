import type { Host } from "../host/host.ts";

/** Before that an answer is not late, and nobody needs to ask the store about who gives it. */
const patienceMs = 1_000;

/**
 * Watches hosts that are late with an answer. Requests that wait for the same one share one watch: each reads the store
 * again and again.
 */
export class LostHolders {
  readonly #host: Pick<Host, "lost">;
  readonly #watches = new Map<string, { readonly end: AbortController; readonly waiting: Set<() => void> }>();

  constructor(host: Pick<Host, "lost">) {
    this.#host = host;
  }

  /** Calls `onLost` once that host is not worth waiting for, unless what this gives is called before. */
  watch(hostId: string, onLost: () => void): () => void {
    const late = setTimeout(() => this.#join(hostId, onLost), patienceMs);
    return () => {
      clearTimeout(late);
      this.#leave(hostId, onLost);
    };
  }

  #join(hostId: string, onLost: () => void): void {
    const known = this.#watches.get(hostId);
    if (known !== undefined) {
      known.waiting.add(onLost);
      return;
    }
    const watch = { end: new AbortController(), waiting: new Set([onLost]) };
    this.#watches.set(hostId, watch);
    void this.#host.lost(hostId, watch.end.signal).then(() => {
      if (watch.end.signal.aborted) return;
      this.#watches.delete(hostId);
      for (const tell of watch.waiting) tell();
    });
  }

  #leave(hostId: string, onLost: () => void): void {
    const watch = this.#watches.get(hostId);
    if (watch === undefined || !watch.waiting.delete(onLost) || watch.waiting.size > 0) return;
    this.#watches.delete(hostId);
    watch.end.abort();
  }
}
