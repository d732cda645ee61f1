/** What a gate needs of the world; each call is bounded in time by its implementation. */
export interface RoundPorts {
  /** The number of commits so far. */
  readonly commits: () => number;
  /** Ships everything committed before the call; gives the txid that is in the store. Rejects when it cannot be known. */
  readonly sync: () => Promise<{ readonly txid: number }>;
  /** Resolves when a read of this host's record, sent after the call, says that it is not fenced. */
  readonly proof: () => Promise<void>;
  /** Tells the store that this epoch is the tenant's history now. Called once, between the first proof and the first pass. */
  readonly mark: () => Promise<void>;
  readonly now: () => number;
}

interface Waiter {
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

/** Commits closer together than this share an entry of the lag's record. */
const lagResolutionMs = 100;
/** Entries kept for the lag; only the oldest is ever shown, so what is beyond this loses nothing but later precision. */
const maxLagEntries = 1_000;

/**
 * The durability gate of one epoch of one tenant. A pass covers everything committed before it was asked for: either
 * earlier rounds covered it and a proof is enough, or a round is made: a sync that was sent after the commit, then a
 * proof that was sent after the sync's answer. One round serves all who asked before its sync was sent; the next sync
 * goes out while the last one's proof is on its way.
 */
export class Rounds {
  readonly #ports: RoundPorts;
  /** Commits up to here are covered by a passed round, or came from the store; -1: not even what the file held at first. */
  #covered: number;
  #waiting: Waiter[] = [];
  #syncing = false;
  #marking: Promise<void> | null = null;
  #closed: Error | null = null;
  #uncovered: { readonly commit: number; readonly at: number }[] = [];
  #lastTxid: number | null = null;
  #lastPassedAt: number | null = null;
  #lastError: string | null = null;

  constructor(ports: RoundPorts, covered: number) {
    this.#ports = ports;
    this.#covered = covered;
    if (!this.isCovered) this.committed();
  }

  get isCovered(): boolean {
    return this.#covered >= this.#ports.commits();
  }

  /** When the oldest commit that no passed round covers was made, to 100 ms; null if there is none. */
  get oldestUndurableAt(): number | null {
    return this.isCovered ? null : (this.#uncovered[0]?.at ?? null);
  }

  get lastPassedAt(): number | null {
    return this.#lastPassedAt;
  }

  /** What the last round failed with; null if it passed. */
  get lastError(): string | null {
    return this.#lastError;
  }

  /** The txid of the last passed round of this epoch. */
  get lastTxid(): number | null {
    return this.#lastTxid;
  }

  /** To be called at every commit, for the lag. */
  committed(): void {
    const at = this.#ports.now();
    const last = this.#uncovered.at(-1);
    if (last !== undefined && (at - last.at < lagResolutionMs || this.#uncovered.length >= maxLagEntries))
      return;
    this.#uncovered.push({ commit: this.#ports.commits(), at });
  }

  /** Resolves once everything committed before the call is durable; rejects when that cannot be had now. */
  pass(): Promise<void> {
    if (this.#closed !== null) return Promise.reject(this.#closed);
    return this.isCovered ? this.#prove() : this.round();
  }

  /** As `pass`, but always ships and syncs. */
  round(): Promise<void> {
    if (this.#closed !== null) return Promise.reject(this.#closed);
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
      if (!this.#syncing) void this.#syncAll();
    });
  }

  /** Fails every waiter: nothing is acknowledged in this epoch from now on. */
  close(why: Error): void {
    this.#closed = why;
    for (const { reject } of this.#waiting.splice(0)) reject(why);
  }

  async #prove(): Promise<void> {
    try {
      await this.#ports.proof();
    } catch (error) {
      this.#note(error);
      throw error;
    }
    if (this.#closed !== null) throw this.#closed;
    this.#lastError = null;
  }

  async #syncAll(): Promise<void> {
    this.#syncing = true;
    while (this.#waiting.length > 0) {
      const served = this.#waiting.splice(0);
      const seen = this.#ports.commits();
      try {
        const { txid } = await this.#ports.sync();
        void this.#confirm(served, seen, txid);
      } catch (error) {
        this.#fail(served, error);
      }
    }
    this.#syncing = false;
  }

  async #confirm(served: readonly Waiter[], seen: number, txid: number): Promise<void> {
    try {
      await this.#ports.proof();
      this.#marking ??= this.#ports.mark();
      await this.#marking.catch((error: unknown) => {
        this.#marking = null;
        throw error;
      });
    } catch (error) {
      return this.#fail(served, error);
    }
    if (this.#closed !== null) return this.#fail(served, this.#closed);
    this.#covered = Math.max(this.#covered, seen);
    this.#lastTxid = Math.max(this.#lastTxid ?? 0, txid);
    this.#lastPassedAt = this.#ports.now();
    this.#uncovered = this.#uncovered.filter(({ commit }) => commit > this.#covered);
    // A commit that shared an entry with one that is covered now has lost it.
    if (this.#uncovered.length === 0 && !this.isCovered) this.committed();
    this.#lastError = null;
    for (const { resolve } of served) resolve();
  }

  #fail(served: readonly Waiter[], error: unknown): void {
    this.#note(error);
    for (const { reject } of served) reject(error);
  }

  #note(error: unknown): void {
    this.#lastError = error instanceof Error ? error.message : String(error);
  }
}
