import { NotDurableError } from "./errors.ts";
import type { Litestream } from "./litestream.ts";
import { LitestreamError } from "./litestream-control.ts";

/**
 * A round that Litestream does not finish within this, and the time that its bytes take on a slow way, leaves its waiters to
 * repeat; what was written stays. A bound that a large file could never keep would ship it anew for ever.
 */
const syncTimeoutSeconds = 5;
const slowBytesPerSecond = 8 * 1024 * 1024;
const maxSyncTimeoutSeconds = 600;
const unregisterTimeoutSeconds = 5;
/**
 * Litestream reads its two txids one after the other while its own monitor works: a healthy answer may be one behind or
 * ahead (6 of 2,736 under full writes). Asked again, it agrees; what still does not is not the file that was registered.
 */
const syncsPerRound = 4;
/** An upload that hangs keeps Litestream's lock on the file for hours; registering the file anew frees it at once. */
const failuresBeforeRenewal = 2;

/** Litestream's answers contradict what this host knows: the epoch's prefix can no longer be trusted with more. */
export class VoidRegistrationError extends Error {
  override readonly name = "VoidRegistrationError";
}

export interface ReplicaPlace {
  readonly path: string;
  readonly replicaUrl: string;
  /** The last txid that Litestream has shipped of the file, by its own notes beside it. */
  readonly shipped: () => Promise<number>;
  /** How large the database and its WAL are, in bytes. */
  readonly size: () => { readonly main: number; readonly wal: number };
}

/**
 * One epoch's file at Litestream. Registered by the first sync, and again after each restart of Litestream; never again
 * once it was to be let go, since the file may then be moved.
 */
export class Replica {
  readonly #litestream: Litestream;
  readonly #place: ReplicaPlace;
  /** The life of Litestream that was last told of the file, whatever it answered; it may hold it. */
  #toldInLife: number | null = null;
  /** The life of Litestream that is known to hold the file. */
  #registeredInLife: number | null = null;
  #registering: Promise<unknown> = Promise.resolve();
  #ended = false;
  #lastTxid: number;
  #failures = 0;

  /** `lastTxid` is where the file had come when Litestream let go of it before; 0 if it never had it. */
  constructor(litestream: Litestream, place: ReplicaPlace, lastTxid = 0) {
    this.#litestream = litestream;
    this.#place = place;
    this.#lastTxid = lastTxid;
  }

  /** Whether Litestream was ever told of the file. */
  get wasRegistered(): boolean {
    return this.#toldInLife !== null;
  }

  /**
   * Ships everything committed before the call, and gives the txid that stands in the store. Throws NotDurableError when
   * that did not come about in time, VoidRegistrationError when it never will in this epoch.
   */
  async sync(): Promise<{ readonly txid: number }> {
    if (this.#litestream.state.kind !== "up") throw new NotDurableError("Litestream is being started again");
    try {
      if (this.#failures >= failuresBeforeRenewal) await this.#renew();
      await this.#register();
      const txid = await this.#syncUntilAgreed();
      this.#failures = 0;
      return { txid };
    } catch (error) {
      if (!(error instanceof LitestreamError)) throw error;
      this.#failures += 1;
      throw new NotDurableError(error.message, { cause: error });
    }
  }

  /** Tells a Litestream that was started again of a file that it knew before. */
  async registerAgain(): Promise<void> {
    if (this.wasRegistered && !this.#ended) await this.#register();
  }

  /** Makes Litestream let go of the file for good. Rejects if it may still hold it: call it again then. */
  async unregister(): Promise<void> {
    this.#ended = true;
    await this.#registering.catch(() => {});
    await this.#letGo();
  }

  async #letGo(): Promise<void> {
    if (this.#toldInLife !== this.#litestream.life) return;
    const { path } = this.#place;
    try {
      await this.#litestream.control.unregister({ path, timeoutSeconds: unregisterTimeoutSeconds });
    } catch (error) {
      const known = await this.#litestream.control.list().catch(() => null);
      if (known === null && this.#litestream.state.kind === "up") throw error;
      if (known?.some((database) => database.path === path) === true) throw error;
    }
  }

  async #register(): Promise<void> {
    if (this.#ended) throw new NotDurableError("the file was let go");
    const { life } = this.#litestream;
    if (this.#registeredInLife === life) return;
    if (this.wasRegistered) await this.#assertNoted();
    this.#toldInLife = life;
    const { path, replicaUrl } = this.#place;
    this.#registering = this.#litestream.control.register({ path, replicaUrl });
    await this.#registering;
    this.#registeredInLife = life;
  }

  /**
   * Without its notes a Litestream that is started anew would ship the file again under numbers of which an upload of the
   * one before may still be on its way, and come last.
   */
  async #assertNoted(): Promise<void> {
    const shipped = await this.#place.shipped();
    // It may have been let go meanwhile: then it must not be registered any more.
    if (this.#ended) throw new NotDurableError("the file was let go");
    if (shipped < this.#lastTxid)
      throw new VoidRegistrationError(
        `Litestream's notes beside the file end at txid ${shipped}, and ${this.#lastTxid} was in the store: the data folder has lost them.`,
      );
  }

  async #renew(): Promise<void> {
    this.#failures = 0;
    await this.#letGo().catch(() => {});
    this.#registeredInLife = null;
  }

  /** One sync of a file at a time: overlapping ones mix up their answers. The caller sees to that. */
  async #syncUntilAgreed(): Promise<number> {
    const { path } = this.#place;
    const { main, wal } = this.#place.size();
    // The first sync of an epoch ships the whole file.
    const bytes = this.#lastTxid === 0 ? main + wal : wal;
    const timeoutSeconds = Math.min(
      syncTimeoutSeconds + Math.ceil(bytes / slowBytesPerSecond),
      maxSyncTimeoutSeconds,
    );
    let last = { txid: 0, replicatedTxid: 0 };
    for (let tries = 0; tries < syncsPerRound && !this.#ended; tries += 1) {
      last = await this.#litestream.control.sync({ path, timeoutSeconds });
      if (last.txid < this.#lastTxid) break;
      if (last.txid > 0 && last.replicatedTxid === last.txid) return (this.#lastTxid = last.txid);
    }
    if (this.#ended) throw new NotDurableError("the file was let go");
    const { txid, replicatedTxid } = last;
    if (txid >= this.#lastTxid && replicatedTxid < txid) {
      this.#failures += 1;
      throw new NotDurableError(`Litestream has shipped up to txid ${replicatedTxid} of ${txid}`);
    }
    throw new VoidRegistrationError(
      `Litestream says txid ${txid}, replicated ${replicatedTxid}, after ${this.#lastTxid}: this is not the file that was registered.`,
    );
  }
}
