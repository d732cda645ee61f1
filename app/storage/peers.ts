import type { Holder } from "./errors.ts";
import type { HostClock } from "./host-clock.ts";
import { beatsPerTtl } from "./host-record.ts";
import type { ObjectStore } from "./object-store.ts";
import { listHosts, readHostRecord, type HostRecord } from "./records.ts";
import { sideBySide } from "./side-by-side.ts";

/** What this host knows of another one. `stale`: it is worth trying to fence it. Fencing is safe at any time. */
export type Peer =
  | { readonly kind: "ended" }
  | { readonly kind: "live" | "stale"; readonly record: HostRecord; readonly etag: string };

/** A record that was seen unchanged since `since`, on our own monotonic clock. */
interface Sighting {
  readonly record: HostRecord;
  readonly etag: string;
  readonly since: number;
  /** Nobody listens at its address, although its record stands. */
  refused: boolean;
}

/** A host that is waited for is looked at so often in its ttl. */
const looksPerTtl = 10;
const beatsMissedWhenRefused = 2;
/** Between looks at a host of which nothing could be read. */
const retryMs = 1_000;
/** So many records are read at a time. */
const readAtOnce = 16;

/**
 * The other hosts, as their records in the store tell of them. Whether one is stale is judged by how long its record has
 * not changed on this host's own monotonic clock: what the other's clock says does not matter.
 */
export class Peers {
  readonly #store: ObjectStore;
  readonly #clock: HostClock;
  readonly #ownId: string;
  readonly #sightings = new Map<string, Sighting>();
  /** A host that has ended never comes back under its id. */
  readonly #ended = new Set<string>();
  readonly #looking = new Map<string, Promise<Peer>>();

  constructor(store: ObjectStore, ownId: string, clock: HostClock) {
    this.#store = store;
    this.#ownId = ownId;
    this.#clock = clock;
  }

  /** Reads the host's record; a look that is under way is shared. Throws StoreUnavailableError. */
  look(hostId: string): Promise<Peer> {
    if (this.#ended.has(hostId)) return Promise.resolve({ kind: "ended" });
    const under = this.#looking.get(hostId);
    if (under !== undefined) return under;
    const looking = this.#read(hostId).finally(() => this.#looking.delete(hostId));
    this.#looking.set(hostId, looking);
    return looking;
  }

  /** Nobody listens at the host's address: two missed beats are then enough to call it stale. */
  noteRefused(hostId: string): void {
    const seen = this.#sightings.get(hostId);
    if (seen !== undefined) seen.refused = true;
  }

  /**
   * Resolves when the host is not worth waiting for any more, or when `signal` aborts. The first look comes at once, so that
   * a host which is silent from now on is found out in one ttl.
   */
  async lost(hostId: string, signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const peer = await this.look(hostId).catch(() => undefined);
      if (peer !== undefined && peer.kind !== "live") return;
      await this.#wait(this.#nextLookInMs(hostId), signal);
    }
  }

  /** Hosts whose records say that they live and that are not stale, this one left out. Throws StoreUnavailableError. */
  async live(): Promise<readonly Holder[]> {
    const known = new Set(await listHosts(this.#store));
    for (const hostId of this.#ended) if (!known.has(hostId)) this.#ended.delete(hostId);
    const others = [...known].filter((id) => id !== this.#ownId && !this.#ended.has(id));
    const found: Holder[] = [];
    await sideBySide(others, readAtOnce, async (hostId) => {
      const peer = await this.look(hostId);
      if (peer.kind === "live" && peer.record.state === "live") found.push(holderOf(hostId, peer.record));
    });
    return found;
  }

  async #read(hostId: string): Promise<Peer> {
    const sentAt = this.#clock.monotonicMs();
    const now = await readHostRecord(this.#store, hostId);
    if (now === undefined || now.value.state === "fenced") {
      this.#ended.add(hostId);
      this.#sightings.delete(hostId);
      return { kind: "ended" };
    }
    const before = this.#sightings.get(hostId);
    if (before?.etag !== now.etag) {
      const since = this.#clock.monotonicMs();
      this.#sightings.set(hostId, { record: now.value, etag: now.etag, since, refused: false });
      return { kind: "live", record: now.value, etag: now.etag };
    }
    const isStale = sentAt - before.since >= patienceMs(before);
    return { kind: isStale ? "stale" : "live", record: now.value, etag: now.etag };
  }

  #nextLookInMs(hostId: string): number {
    const seen = this.#sightings.get(hostId);
    if (seen === undefined) return retryMs;
    const staleInMs = seen.since + patienceMs(seen) - this.#clock.monotonicMs();
    return Math.max(1, Math.min(seen.record.ttlMs / looksPerTtl, Math.ceil(staleInMs)));
  }

  #wait(ms: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const cancel = this.#clock.setTimer(ms, done);
      signal.addEventListener("abort", done, { once: true });
      function done(): void {
        cancel();
        signal.removeEventListener("abort", done);
        resolve();
      }
    });
  }
}

/** Where a host is, as others are told. */
export function holderOf(hostId: string, { machine, address, region }: HostRecord): Holder {
  return { hostId, machine, address, region };
}

/** For how long a record may stand unchanged. A host that is draining is busy with what it lets go: it gets its whole ttl. */
function patienceMs({ record, refused }: Sighting): number {
  const early = refused && record.state !== "draining";
  return early ? (record.ttlMs * beatsMissedWhenRefused) / beatsPerTtl : record.ttlMs;
}
