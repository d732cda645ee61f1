import { sideBySide } from "../storage/side-by-side.ts";
import type { Parked } from "./hosted-tenant.ts";
import type { TenantSlot } from "./tenant-slot.ts";

/** So many may be parked; of more, those that nobody has used for longest are given away. */
const maxParked = 20_000;
/** Releases under way at a time; each is one write to the store after another, of a snapshot and of the record. */
const releasesAtOnce = { always: 8, draining: 64 } as const;

export interface ParkedTenantsOptions {
  /** A parked tenant that nobody has used for so long is given away. */
  readonly releaseMs: number;
  /** The slot of a tenant, which takes it from here. */
  readonly slotOf: (tenantId: string) => TenantSlot;
  /** Whether the store takes writes, as far as is known. */
  readonly isStoreUp: () => boolean;
}

interface Entry {
  readonly parked: Parked;
  /** Epoch milliseconds. */
  readonly since: number;
}

/** The tenants that are this host's and that nobody uses, least recently used first: nothing here looks at them all. */
export class ParkedTenants {
  readonly #options: ParkedTenantsOptions;
  /** In the order in which they were parked, so that those who are to go come first. */
  readonly #entries = new Map<string, Entry>();
  #releasing = 0;
  #ended = false;

  constructor(options: ParkedTenantsOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#entries.size;
  }

  add(tenantId: string, parked: Parked, now: number): void {
    this.#entries.set(tenantId, { parked, since: now });
  }

  get(tenantId: string): Parked | undefined {
    return this.#entries.get(tenantId)?.parked;
  }

  take(tenantId: string): Parked | null {
    const entry = this.#entries.get(tenantId);
    this.#entries.delete(tenantId);
    return entry?.parked ?? null;
  }

  /** When the next of their unfinished runs are due; looks at them all. Epoch milliseconds. */
  nextDue(): number {
    let next = Infinity;
    for (const { parked } of this.#entries.values()) next = Math.min(next, parked.due?.at ?? Infinity);
    return next;
  }

  /** Gives away those whose time has come, and those beyond the bound. */
  keepHouse(now: number): void {
    while (!this.#ended && this.#releasing < releasesAtOnce.always && this.#options.isStoreUp()) {
      const [first] = this.#entries;
      if (first === undefined) return;
      const [tenantId, { since }] = first;
      if (this.#entries.size <= maxParked && now - since < this.#options.releaseMs) return;
      this.#releasing += 1;
      void this.#options
        .slotOf(tenantId)
        .release()
        .finally(() => {
          this.#releasing -= 1;
          this.keepHouse(now);
        });
    }
  }

  /** Begins with no more releases. */
  stop(): void {
    this.#ended = true;
  }

  /**
   * Gives them away, for good, those first that are most likely to be wanted; until it is `late`. What is left, or not taken by
   * the store, keeps its claim: all of it is in the store, its wake stands, and whoever wants it next claims it, once this host
   * is known to be over.
   */
  async end(late: AbortSignal): Promise<void> {
    this.stop();
    const newestFirst = [...this.#entries.keys()].toReversed();
    await sideBySide(newestFirst, releasesAtOnce.draining, async (tenantId) => {
      if (!late.aborted) await this.#options.slotOf(tenantId).end(0);
    });
  }
}
