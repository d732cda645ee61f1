import type { BeforeSync } from "./gather.ts";

/** What a gate needs of the world; each call is bounded in time by its implementation. */
export interface RoundPorts {
  /** The number of commits so far. */
  readonly commits: () => number;
  /** Ships everything committed before the call; gives the txid that is in the store. Rejects when it cannot be known. */
  readonly sync: () => Promise<{ readonly txid: number }>;
  /** Resolves when a read of this host's record, sent after the call, says that it is not fenced. */
  readonly proof: () => Promise<void>;
  /** Tells the store that this epoch is the tenant's history now. Between the first sync and the first pass, and again only after it failed. */
  readonly mark: () => Promise<void>;
  /** Told of each round that has passed, before anything is acknowledged by it. If it throws, nothing is. */
  readonly passed: () => void;
  /** Resolves when the next sync should be sent; who comes until then is served by it. Decides nothing but speed. */
  readonly gather: (before: BeforeSync) => Promise<void>;
  readonly now: () => number;
}

interface Waiter {
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

/** Commits closer together than this share an entry of the lag's record. */
const lagResolutionMs = 100;
/** Entries kept for the lag; the last one takes what is beyond, and shows it as older than it is. */
const maxLagEntries = 1_000;

/**
 * The durability gate of one epoch of one tenant. A pass covers everything committed before it was asked for: either
 * earlier rounds covered it and a proof is enough, or a round is made: a sync that was sent after the commit, then a
 * proof that was sent after the sync's answer, and beside the first one the epoch's mark. One round serves all whose commits were made before its sync was sent; the
 * next sync may go out while the last one's proof is on its way.
 */
export class Rounds {
  readonly #ports: RoundPorts;
  /** Commits up to here are covered by a passed round, or came from the store; -1: not even what the file held at first. */
  #covered: number;
  #waiting: Waiter[] = [];
  /** Those whose round is under way. */
  readonly #served = new Set<Waiter>();
  /** The sync that is under way: whom it serves, and up to which commit. */
  #syncing: { readonly served: Waiter[]; readonly seen: number } | null = null;
  /** Whether syncs are being sent one after the other, or gathered for. */
  #running = false;
  #marking: Promise<void> | null = null;
  #asked = 0;
  #syncMs = 0;
  #proofMs = 0;
  #closed: Error | null = null;
  /** Spans of commits that no passed round covers whole: the last commit of each, and when its first was made. */
  #uncovered: { lastCommit: number; readonly at: number }[] = [];
  #lastTxid: number | null;
  #lastPassedAt: number | null = null;
  #lastError: string | null = null;

  /** `lastTxid` is that of the last round before this file was parked, if any. */
  constructor(
    ports: RoundPorts,
    { covered, lastTxid }: { readonly covered: number; readonly lastTxid: number | null },
  ) {
    this.#ports = ports;
    this.#covered = covered;
    this.#lastTxid = lastTxid;
    if (!this.isCovered) this.committed();
  }

  get isCovered(): boolean {
    return this.#covered >= this.#ports.commits();
  }

  /** When the oldest commit that no passed round covers was made, or up to 100 ms before; null if there is none. */
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
    const lastCommit = this.#ports.commits();
    const last = this.#uncovered.at(-1);
    if (last !== undefined && (at - last.at < lagResolutionMs || this.#uncovered.length >= maxLagEntries))
      last.lastCommit = lastCommit;
    else this.#uncovered.push({ lastCommit, at });
  }

  /** Resolves once everything committed before the call is durable; rejects when that cannot be had now. */
  pass(): Promise<void> {
    if (this.#closed !== null) return Promise.reject(this.#closed);
    return this.isCovered ? this.#prove() : this.round();
  }

  /** As `pass`, but always ships and syncs. */
  round(): Promise<void> {
    if (this.#closed !== null) return Promise.reject(this.#closed);
    this.#asked += 1;
    return new Promise((resolve, reject) => {
      const waiter = { resolve, reject };
      // A sync under way that was sent after the last commit covers it: its answer, and so the proof, is still to come.
      if (this.#syncing !== null && this.#syncing.seen >= this.#ports.commits()) {
        this.#syncing.served.push(waiter);
        this.#served.add(waiter);
        return;
      }
      this.#waiting.push(waiter);
      if (!this.#running) void this.#syncAll();
    });
  }

  /** Fails every waiter: nothing is acknowledged in this epoch from now on. */
  close(why: Error): void {
    this.#closed = why;
    for (const { reject } of [...this.#waiting.splice(0), ...this.#served]) reject(why);
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
    this.#running = true;
    await this.#gather(null);
    while (this.#waiting.length > 0) {
      const { passing } = await this.#syncOnce();
      await this.#gather(passing);
    }
    this.#running = false;
  }

  #gather(passing: Promise<void> | null): Promise<void> {
    return this.#ports.gather({
      passing,
      activity: () => this.#asked + this.#ports.commits(),
      syncMs: this.#syncMs,
      proofMs: this.#proofMs,
      now: this.#ports.now,
    });
  }

  /** Gives what is left of the round, null if it failed already. */
  async #syncOnce(): Promise<{ readonly passing: Promise<void> | null }> {
    const served = this.#waiting.splice(0);
    for (const waiter of served) this.#served.add(waiter);
    const seen = this.#ports.commits();
    this.#syncing = { served, seen };
    const sentAt = this.#ports.now();
    try {
      const { txid } = await this.#ports.sync();
      this.#syncMs = smoothed(this.#syncMs, this.#ports.now() - sentAt);
      return { passing: this.#confirm(served, seen, txid) };
    } catch (error) {
      // Those who came meanwhile too: one sync after the other, each as long as its timeout, would keep them for minutes.
      this.#fail([...served, ...this.#waiting.splice(0)], error);
      return { passing: null };
    } finally {
      this.#syncing = null;
    }
  }

  async #confirm(served: readonly Waiter[], seen: number, txid: number): Promise<void> {
    // What was closed may be another's by now, or nobody's: it is not marked either.
    if (this.#closed !== null) return this.#fail(served, this.#closed);
    try {
      // A mark needs no proof before it: who is fenced and not yet replaced marks what the next host then restores, and who
      // is replaced is refused.
      await Promise.all([this.#timedProof(), this.#mark()]);
      if (this.#closed !== null) return this.#fail(served, this.#closed);
      this.#ports.passed();
    } catch (error) {
      return this.#fail(served, error);
    }
    this.#covered = Math.max(this.#covered, seen);
    this.#lastTxid = Math.max(this.#lastTxid ?? 0, txid);
    this.#lastPassedAt = this.#ports.now();
    this.#uncovered = this.#uncovered.filter(({ lastCommit }) => lastCommit > this.#covered);
    this.#lastError = null;
    for (const waiter of served) this.#settle(waiter).resolve();
  }

  async #timedProof(): Promise<void> {
    const sentAt = this.#ports.now();
    await this.#ports.proof();
    this.#proofMs = smoothed(this.#proofMs, this.#ports.now() - sentAt);
  }

  /** Once for all rounds; again only after it failed. */
  #mark(): Promise<void> {
    this.#marking ??= this.#ports.mark().catch((error: unknown) => {
      this.#marking = null;
      throw error;
    });
    return this.#marking;
  }

  #fail(served: readonly Waiter[], error: unknown): void {
    this.#note(error);
    for (const waiter of served) this.#settle(waiter).reject(error);
  }

  #settle(waiter: Waiter): Waiter {
    this.#served.delete(waiter);
    return waiter;
  }

  #note(error: unknown): void {
    this.#lastError = error instanceof Error ? error.message : String(error);
  }
}

/** Mostly what it was before, so that one slow answer among many changes little. */
function smoothed(before: number, now: number): number {
  return before === 0 ? now : (3 * before + now) / 4;
}
