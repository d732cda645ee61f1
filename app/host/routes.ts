import type { Holder } from "../storage/errors.ts";
import type { Peers } from "../storage/peers.ts";

/** Tenants elsewhere that are remembered; beyond, the oldest is forgotten. */
const maxKnown = 10_000;
/** Other hosts that are alive, for who asks again within so long. */
const anyFreshForMs = 2_000;

export interface RoutesOptions {
  /** Where a tenant is, is asked of the store again after so long, or when a request could not be handed over. */
  readonly freshForMs: number;
  /** Called when a host that is watched is not worth waiting for any more. */
  readonly onLost: () => void;
}

/** Which other hosts this one sends requests to, and which it keeps an eye on. */
export class Routes {
  readonly #peers: Peers;
  readonly #options: RoutesOptions;
  readonly #known = new Map<string, { readonly holder: Holder; readonly until: number }>();
  readonly #watched = new Set<string>();
  readonly #stopping = new AbortController();
  #any: { readonly holder: Promise<Holder | null>; readonly until: number } | null = null;

  constructor(peers: Peers, options: RoutesOptions) {
    this.#peers = peers;
    this.#options = options;
  }

  /** The host that had the tenant a moment ago, or null. */
  of(tenantId: string): Holder | null {
    const known = this.#known.get(tenantId);
    if (known === undefined) return null;
    if (performance.now() < known.until) return known.holder;
    this.#known.delete(tenantId);
    return null;
  }

  note(tenantId: string, holder: Holder): void {
    this.#known.delete(tenantId);
    this.#known.set(tenantId, { holder, until: performance.now() + this.#options.freshForMs });
    const [oldest] = this.#known.keys();
    if (oldest !== undefined && this.#known.size > maxKnown) this.#known.delete(oldest);
  }

  /** The host may have let its tenants go, or be gone: where they are is asked again. */
  forget(hostId: string): void {
    for (const [tenantId, { holder }] of this.#known)
      if (holder.hostId === hostId) this.#known.delete(tenantId);
    this.#any = null;
  }

  /** Keeps an eye on the host until it is lost. */
  watch(hostId: string): void {
    if (this.#watched.has(hostId) || this.#stopping.signal.aborted) return;
    this.#watched.add(hostId);
    void this.#peers.lost(hostId, this.#stopping.signal).then(() => {
      this.#watched.delete(hostId);
      if (!this.#stopping.signal.aborted) this.#options.onLost();
    });
  }

  /** Some host that lives; null if none does. Throws StoreUnavailableError. */
  async any(): Promise<Holder | null> {
    if (this.#any === null || performance.now() >= this.#any.until) {
      const holder = this.#peers.live().then(([first]) => first ?? null);
      this.#any = { holder, until: performance.now() + anyFreshForMs };
    }
    return await this.#any.holder;
  }

  stop(): void {
    this.#stopping.abort();
  }
}
