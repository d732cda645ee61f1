import { systemHostClock, type HostClock } from "./host-clock.ts";
import type { ObjectStore } from "./object-store.ts";
import {
  freshNonce,
  hostKey,
  putRecord,
  readHostRecord,
  RecordChangedError,
  type HostRecord,
  type Versioned,
} from "./records.ts";
import { Proofs } from "./proofs.ts";

/** Where and what this host is, as its record tells it. */
export interface HostIdentity {
  readonly id: string;
  readonly machine: string;
  readonly address: string;
  readonly region: string;
  readonly ttlMs: number;
}

export interface HostRecordLog {
  warn(facts: Readonly<Record<string, unknown>>, message: string): void;
}

/** A beat comes three times in a ttl, so that one may be lost. */
export const beatsPerTtl = 3;

/**
 * This host's record in the store: created once, beaten while the host lives, read for proofs. Another host ends our
 * right to acknowledge by setting it to `fenced`; we learn it from the next beat or proof, whichever is first.
 */
export class OwnHostRecord {
  readonly identity: HostIdentity;
  readonly #store: ObjectStore;
  readonly #log: HostRecordLog;
  readonly #onFenced: (why: string) => void;
  readonly #clock: HostClock;
  readonly #proofs: Proofs;
  /** Nonces of writes that may be what the store holds now: the last that was confirmed, and those whose answer was lost. */
  readonly #nonces = new Set<string>();
  #etag = "";
  #state: "live" | "draining" | "fenced" = "live";
  #cancelBeat: (() => void) | null = null;
  #beating: Promise<void> = Promise.resolve();
  #lastBeatAt = 0;
  #beatTrouble: string | null = null;
  #proofTrouble: string | null = null;

  private constructor(
    store: ObjectStore,
    identity: HostIdentity,
    log: HostRecordLog,
    onFenced: (why: string) => void,
    clock: HostClock,
  ) {
    this.#store = store;
    this.identity = identity;
    this.#log = log;
    this.#onFenced = onFenced;
    this.#clock = clock;
    this.#proofs = new Proofs(() => this.#readProof());
  }

  /** Creates the record and starts to beat. Throws StoreUnavailableError. */
  static async create(
    store: ObjectStore,
    identity: HostIdentity,
    log: HostRecordLog,
    onFenced: (why: string) => void,
    clock: HostClock = systemHostClock,
  ): Promise<OwnHostRecord> {
    const own = new OwnHostRecord(store, identity, log, onFenced, clock);
    const value = own.#value();
    own.#nonces.add(value.nonce);
    own.#etag = (await putRecord(store, hostKey(identity.id), value, { ifNoneMatch: "*" })).etag;
    own.#lastBeatAt = clock.now();
    own.#scheduleBeat();
    return own;
  }

  get fenced(): boolean {
    return this.#state === "fenced";
  }

  /** Why this host could not beat or prove itself the last time it tried; null if it could. */
  get trouble(): string | null {
    return this.#beatTrouble ?? this.#proofTrouble;
  }

  /** Epoch milliseconds of the last write of the record that was confirmed. */
  get lastBeatAt(): number {
    return this.#lastBeatAt;
  }

  /**
   * Resolves once a read of the record that was sent after this call says that this host is not fenced. One read serves
   * all who asked before it was sent. Rejects with FencedError, or StoreUnavailableError.
   */
  proof(): Promise<void> {
    return this.#proofs.next();
  }

  /** Tells other hosts that this one is going away. */
  async drain(): Promise<void> {
    if (this.#state === "live") this.#state = "draining";
    await this.#beat();
  }

  /** Beats no more; the record stays, and is fenced by whoever wants a tenant that it still holds. */
  async stop(): Promise<void> {
    this.#cancelBeat?.();
    this.#cancelBeat = null;
    await this.#beating;
  }

  /**
   * As `stop`, for a host that holds no tenant any more: its own last word is that it is fenced, so that nobody waits for
   * it or asks it for anything. What fails leaves the record as `stop` does.
   */
  async retire(): Promise<void> {
    await this.stop();
    if (this.fenced) return;
    this.#state = "fenced";
    await putRecord(this.#store, hostKey(this.identity.id), this.#value(), { ifMatch: this.#etag }).catch(
      (error: unknown) => this.#log.warn({ err: error }, "this host's record could not be ended"),
    );
  }

  #value(): HostRecord {
    const { machine, address, region, ttlMs } = this.identity;
    const beatAt = this.#clock.now();
    return { nonce: freshNonce(), machine, address, region, beatAt, ttlMs, state: this.#state };
  }

  #scheduleBeat(): void {
    this.#cancelBeat = this.#clock.setTimer(this.identity.ttlMs / beatsPerTtl, () => {
      void this.#beat().finally(() => {
        if (this.#cancelBeat !== null && !this.fenced) this.#scheduleBeat();
      });
    });
  }

  #beat(): Promise<void> {
    this.#beating = this.#beating.then(() => this.#beatOnce());
    return this.#beating;
  }

  async #beatOnce(): Promise<void> {
    if (this.fenced) return;
    const value = this.#value();
    this.#nonces.add(value.nonce);
    try {
      const put = await putRecord(this.#store, hostKey(this.identity.id), value, { ifMatch: this.#etag });
      this.#etag = put.etag;
      this.#nonces.clear();
      this.#nonces.add(value.nonce);
      this.#lastBeatAt = this.#clock.now();
      this.#beatTrouble = null;
    } catch (error) {
      await this.#settleLostBeat(error);
    }
    // Nobody else may ask for a proof now: a host that says it is in trouble may get no requests.
    if (this.#proofTrouble !== null) await this.#readProof().catch(() => {});
  }

  /** A beat that was refused, or whose answer was lost: what is there now tells whether it was one of ours. */
  async #settleLostBeat(error: unknown): Promise<void> {
    try {
      const now = await readHostRecord(this.#store, this.identity.id);
      if (now !== undefined && now.value.state !== "fenced" && this.#nonces.has(now.value.nonce))
        this.#noteLostBeat(now.etag, error);
      else this.#fence(now === undefined ? "its record is gone" : "its record was changed by another host");
    } catch (readError) {
      this.#beatTrouble = (readError as Error).message;
      this.#log.warn({ err: readError, beat: error }, "this host's record could be neither written nor read");
    }
  }

  /** The record is ours, so nobody has taken over; but a store that only reads keeps no beat. */
  #noteLostBeat(etag: string, error: unknown): void {
    const applied = etag !== this.#etag;
    this.#etag = etag;
    this.#beatTrouble = applied ? null : (error as Error).message;
    if (!applied) this.#log.warn({ err: error }, "this host's record could not be written");
  }

  async #readProof(): Promise<void> {
    if (this.fenced) throw new FencedError();
    const now = await readHostRecord(this.#store, this.identity.id).catch((error: Error) => {
      this.#proofTrouble = error.message;
      throw error;
    });
    this.#proofTrouble = null;
    if (now === undefined || now.value.state === "fenced") {
      this.#fence(now === undefined ? "its record is gone" : "another host took over");
      throw new FencedError();
    }
  }

  #fence(why: string): void {
    if (this.fenced) return;
    this.#state = "fenced";
    this.#onFenced(why);
  }
}

/** This host may not acknowledge anything any more. */
export class FencedError extends Error {
  override readonly name = "FencedError";
  constructor() {
    super("This host was fenced: another one may have taken over its tenants.");
  }
}

/**
 * Ends the right of another host to acknowledge. True: it is fenced, by us or before. False: its record changed since it
 * was `seen`, so it lives. Always safe; whether it is worth doing is the caller's decision. `at` is kept for the record's
 * removal.
 */
export async function fenceHost(
  store: ObjectStore,
  hostId: string,
  seen: Versioned<HostRecord>,
  at = Date.now(),
): Promise<boolean> {
  const fenced: HostRecord = { ...seen.value, state: "fenced", fencedAt: at, nonce: freshNonce() };
  try {
    await putRecord(store, hostKey(hostId), fenced, { ifMatch: seen.etag });
    return true;
  } catch (error) {
    if (!(error instanceof RecordChangedError)) throw error;
    const now = await readHostRecord(store, hostId);
    return now === undefined || now.value.state === "fenced";
  }
}
