import type { HostClock } from "./host-clock.ts";
import { fenceHost } from "./host-record.ts";
import type { ObjectStore } from "./object-store.ts";
import type { Peers } from "./peers.ts";
import { hostKey, listHosts, readHostRecord, UnreadableRecordError, type HostRecord } from "./records.ts";

const hourMs = 60 * 60_000;
const dayMs = 24 * hourMs;
/** So many records are read in one sweep; which ones is left to chance, so that each has its turn. */
const maxReads = 500;
/** So many hosts that seem to be gone are watched for a ttl at a time. */
const watchedAtOnce = 20;
const watchAtMostMs = hourMs;

export interface HostSweepOptions {
  readonly store: ObjectStore;
  readonly peers: Peers;
  readonly clock: HostClock;
  readonly ownId: string;
  readonly log: {
    info(facts: Readonly<Record<string, unknown>>, message: string): void;
    warn(facts: Readonly<Record<string, unknown>>, message: string): void;
  };
}

/**
 * Ends and removes the records of hosts that are gone; any host does it, about once an hour. A record that says `fenced`
 * is kept for a day, so that a late doubled create does not bring a fenced host back. One whose beat is a day old by its
 * own clock, and which does not change while we watch, is fenced first; a day later it goes as well. Killed anywhere,
 * nothing is half done. A host that lives after all finds its record fenced or gone, and ends.
 */
export class HostSweep {
  readonly #options: HostSweepOptions;
  readonly #stopping = new AbortController();
  #sweeping: Promise<void> = Promise.resolve();
  #nextAt: number;

  constructor(options: HostSweepOptions) {
    this.#options = options;
    // Not while a host starts; and hosts that were started together do not sweep together.
    this.#nextAt = options.clock.monotonicMs() + (0.05 + 0.45 * Math.random()) * hourMs;
  }

  /** To be called from time to time; sweeps when an hour has passed. Never rejects. */
  async look(): Promise<void> {
    const { clock, log } = this.#options;
    if (clock.monotonicMs() < this.#nextAt || this.#stopping.signal.aborted) return;
    this.#nextAt = clock.monotonicMs() + hourMs;
    this.#sweeping = this.sweep().catch((error: unknown) =>
      log.warn({ err: error }, "the records of hosts that are gone could not be cleared up"),
    );
    await this.#sweeping;
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#sweeping;
  }

  /** One pass over all hosts. Throws StoreUnavailableError. */
  async sweep(): Promise<void> {
    const { store, ownId, clock } = this.#options;
    const dayAgo = clock.now() - dayMs;
    const silent: string[] = [];
    for (const hostId of someOf(await listHosts(store))) {
      if (this.#stopping.signal.aborted) return;
      if (hostId === ownId) continue;
      const record = await readKnown(store, hostId);
      if (record === undefined || lastWordAt(record) > dayAgo) continue;
      if (record.state === "fenced") await this.#remove(hostId);
      else silent.push(hostId);
    }
    await Promise.all(silent.slice(0, watchedAtOnce).map((hostId) => this.#endIfGone(hostId)));
  }

  async #remove(hostId: string): Promise<void> {
    await this.#options.store.delete(hostKey(hostId));
    this.#options.log.info(
      { event: "host.removed", host: hostId },
      "the record of a host that is gone was removed",
    );
  }

  async #endIfGone(hostId: string): Promise<void> {
    const { store, peers, clock, log } = this.#options;
    const signal = AbortSignal.any([this.#stopping.signal, AbortSignal.timeout(watchAtMostMs)]);
    await peers.lost(hostId, signal);
    const peer = await peers.look(hostId);
    if (signal.aborted || peer.kind !== "stale") return;
    if (await fenceHost(store, hostId, { value: peer.record, etag: peer.etag }, clock.now()))
      log.info({ event: "host.ended", host: hostId }, "a host that is gone was fenced");
  }
}

/** A record that this code cannot read is left to code that can. */
async function readKnown(store: ObjectStore, hostId: string): Promise<HostRecord | undefined> {
  try {
    return (await readHostRecord(store, hostId))?.value;
  } catch (error) {
    if (error instanceof UnreadableRecordError) return undefined;
    throw error;
  }
}

function lastWordAt({ beatAt, fencedAt }: HostRecord): number {
  return fencedAt ?? beatAt;
}

/** At most `maxReads` of them, from a random one on. */
function someOf(ids: readonly string[]): readonly string[] {
  const start = Math.floor(Math.random() * ids.length);
  return [...ids.slice(start), ...ids.slice(0, start)].slice(0, maxReads);
}
