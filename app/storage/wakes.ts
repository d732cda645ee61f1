import type { ObjectStore } from "./object-store.ts";

const prefix = "wakes/";

/** A wake in the store: `wakes/<yyyy-mm-ddThh:mm>/<tenant>`, by UTC minutes. `at` is the minute's start, epoch milliseconds. */
export interface Wake {
  readonly key: string;
  readonly tenantId: string;
  readonly at: number;
}

export function wakeKey(tenantId: string, at: number): string {
  return `${prefix}${new Date(at).toISOString().slice(0, 16)}/${tenantId}`;
}

/** Every wake whose minute has begun at `until`, the earliest first. */
export async function dueWakes(store: ObjectStore, until: number): Promise<readonly Wake[]> {
  const keys = await store.list(prefix);
  return keys.flatMap((key) => {
    const [minute, tenantId] = key.slice(prefix.length).split("/");
    const at = Date.parse(`${minute}:00.000Z`);
    return tenantId === undefined || !(at <= until) ? [] : [{ key, tenantId, at }];
  });
}

/** The wakes of one tenant that this host owns. Whoever finds one too many looks in vain, whoever finds none never looks. */
export class TenantWakes {
  readonly #store: ObjectStore;
  readonly #tenantId: string;
  readonly #known = new Set<string>();
  #ensuring: Promise<void> | null = null;

  constructor(store: ObjectStore, tenantId: string) {
    this.#store = store;
    this.#tenantId = tenantId;
  }

  /** A wake of this tenant was seen in the store. */
  adopt(key: string): void {
    this.#known.add(key);
  }

  /** Resolves once the store has a wake that will be due at `at` or before; any wake that is known is, while we are open. */
  async ensure(at: number): Promise<void> {
    if (this.#known.size > 0) return;
    this.#ensuring ??= this.#put(at).finally(() => (this.#ensuring = null));
    await this.#ensuring;
  }

  /** Leaves just the wake that is due at `at`, or none. The new one is there before an old one goes. */
  async settle(at: number | null): Promise<void> {
    await this.#ensuring?.catch(() => {});
    if (at !== null && !this.#known.has(wakeKey(this.#tenantId, at))) await this.#put(at);
    const keep = at === null ? null : wakeKey(this.#tenantId, at);
    for (const key of this.#known) {
      if (key === keep) continue;
      await this.#store.delete(key);
      this.#known.delete(key);
    }
  }

  async #put(at: number): Promise<void> {
    const key = wakeKey(this.#tenantId, at);
    await this.#store.put(key, "");
    this.#known.add(key);
  }
}
