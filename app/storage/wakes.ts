import type { ObjectStore } from "./object-store.ts";

const prefix = "wakes/";
/** Years beyond have more than four digits, which would not sort; a run may sleep until one. */
const lastWakeAt = Date.UTC(9999, 11, 31, 23, 59);

/** What else lies among the wakes, as a file manager's own files in a store that is a folder, is nobody's tenant. */
const tenantName = /^[a-z0-9][a-z0-9-]{0,62}$/;

export function isTenantName(name: string): boolean {
  return tenantName.test(name);
}

/** A wake in the store: `wakes/<yyyy-mm-ddThh:mm>/<tenant>`, by UTC minutes. `at` is the minute's start, epoch milliseconds. */
export interface Wake {
  readonly key: string;
  readonly tenantId: string;
  readonly at: number;
}

export function wakeKey(tenantId: string, at: number): string {
  return `${prefix}${new Date(Math.min(at, lastWakeAt)).toISOString().slice(0, 16)}/${tenantId}`;
}

/** Every wake, the earliest first. */
export async function allWakes(store: ObjectStore): Promise<readonly Wake[]> {
  const keys = await store.list(prefix);
  return keys.flatMap((key) => {
    const [minute, tenantId = ""] = key.slice(prefix.length).split("/");
    const at = Date.parse(`${minute}:00.000Z`);
    return isTenantName(tenantId) && !Number.isNaN(at) ? [{ key, tenantId, at }] : [];
  });
}

/** Every wake whose minute has begun at `until`, the earliest first. */
export async function dueWakes(store: ObjectStore, until: number): Promise<readonly Wake[]> {
  return (await allWakes(store)).filter(({ at }) => at <= until);
}

export interface TenantWakesOptions {
  /** Resolves if this host was not fenced when it was called. */
  readonly proof: () => Promise<void>;
  /** When the wake is due that this host has put and left; null if it left none. */
  readonly standingAt?: number | null;
}

/** The wakes of one tenant that this host owns. Whoever finds one too many looks in vain, whoever finds none never looks. */
export class TenantWakes {
  readonly #store: ObjectStore;
  readonly #tenantId: string;
  readonly #proof: () => Promise<void>;
  /** What this host has put and not deleted. */
  readonly #standing = new Set<string>();
  /** What others put, or this host tried to delete: it may be there or not. */
  readonly #stale = new Set<string>();
  #ensuring: Promise<void> | null = null;

  constructor(store: ObjectStore, tenantId: string, { proof, standingAt = null }: TenantWakesOptions) {
    this.#store = store;
    this.#tenantId = tenantId;
    this.#proof = proof;
    if (standingAt !== null) this.#standing.add(wakeKey(tenantId, standingAt));
  }

  /** Whether any wake of this tenant is known. */
  get areKnown(): boolean {
    return this.#standing.size + this.#stale.size > 0;
  }

  /** A wake of this tenant was seen in the store: it is deleted when it is over, but it may be gone already. */
  adopt(key: string): void {
    if (!this.#standing.has(key)) this.#stale.add(key);
  }

  /** Resolves once the store has a wake that will be due at `at` (now) or before. */
  async ensure(at: number): Promise<void> {
    const latest = wakeKey(this.#tenantId, at);
    if ([...this.#standing].some((key) => key <= latest)) return;
    this.#ensuring ??= this.#put(at).finally(() => (this.#ensuring = null));
    await this.#ensuring;
  }

  /** Leaves just the wake that is due at `at`, or none. The new one is there before an old one goes. */
  async settle(at: number | null): Promise<void> {
    await this.#ensuring?.catch(() => {});
    const keep = at === null ? null : wakeKey(this.#tenantId, at);
    if (at !== null && keep !== null && !this.#standing.has(keep)) await this.#put(at);
    const old = [...this.#standing, ...this.#stale].filter((key) => key !== keep);
    // One that was seen may be of whoever has fenced this host since, and relies on it; not if the proof comes later.
    if (old.some((key) => this.#stale.has(key))) await this.#proof();
    for (const key of old) {
      // A delete whose answer is lost may have been made: from here on nobody may rely on the wake.
      this.#standing.delete(key);
      this.#stale.add(key);
      await this.#store.delete(key);
      this.#stale.delete(key);
    }
  }

  async #put(at: number): Promise<void> {
    const key = wakeKey(this.#tenantId, at);
    await this.#store.put(key, "");
    this.#stale.delete(key);
    this.#standing.add(key);
  }
}
