import type { ObjectStore } from "./object-store.ts";

const prefix = "wakes/";
/** Years beyond have more than four digits, which would not sort; a run may sleep until one. */
const lastWakeAt = Date.UTC(9999, 11, 31, 23, 59);

/** What else lies among the wakes, as a file manager's own files in a store that is a folder, is nobody's tenant. */
const tenantName = /^[a-z0-9][a-z0-9-]{0,62}$/;

export function isTenantName(name: string): boolean {
  return tenantName.test(name);
}

/**
 * A wake in the store: `wakes/<yyyy-mm-ddThh:mm>/<tenant>.<epoch>-<nonce>`, by UTC minutes, of the host that has the tenant in
 * that epoch. `at` is the minute's start, epoch milliseconds. No key is ever put twice: a delete that comes late, of a host that
 * stood still or of a request that was given up, must not take away what somebody relies on.
 */
export interface Wake {
  readonly key: string;
  readonly tenantId: string;
  readonly at: number;
}

/** A key that nobody has used: by chance, since it need not be hard to guess. */
function newWakeKey(
  tenantId: string,
  { at, epoch }: { readonly at: number; readonly epoch: number },
): string {
  const nonce = Math.floor(Math.random() * 2 ** 32)
    .toString(16)
    .padStart(8, "0");
  return `${minutePrefix(at)}${tenantId}.${epoch}-${nonce}`;
}

function minutePrefix(at: number): string {
  return `${prefix}${new Date(Math.min(at, lastWakeAt)).toISOString().slice(0, 16)}/`;
}

/** 0 for a wake that somebody has put by hand, without an epoch. */
function epochOf(key: string): number {
  return Number(/\.(\d+)-[^/]*$/.exec(key)?.[1] ?? 0);
}

/** Every wake, the earliest first. */
export async function allWakes(store: ObjectStore): Promise<readonly Wake[]> {
  const keys = await store.list(prefix);
  return keys.flatMap((key) => {
    const [minute, name = ""] = key.slice(prefix.length).split("/");
    const [tenantId = ""] = name.split(".");
    const at = Date.parse(`${minute}:00.000Z`);
    return isTenantName(tenantId) && !Number.isNaN(at) ? [{ key, tenantId, at }] : [];
  });
}

/** Every wake whose minute has begun at `until`, the earliest first. */
export async function dueWakes(store: ObjectStore, until: number): Promise<readonly Wake[]> {
  return (await allWakes(store)).filter(({ at }) => at <= until);
}

/**
 * The wakes of one tenant that this host has. Whoever finds one too many looks in vain, whoever finds none never looks: so it
 * deletes none of a later epoch, which tells that another host has the tenant by now and relies on it.
 */
export class TenantWakes {
  readonly #store: ObjectStore;
  readonly #tenantId: string;
  /** What this host has put and not deleted. */
  readonly #standing = new Set<string>();
  /** What others put, or this host tried to delete: it may be there or not. */
  readonly #stale = new Set<string>();
  #epoch = 0;
  #ensuring: Promise<string> | null = null;

  /** `standing`: the key of the wake that this host has put and left; null if it left none. */
  constructor(store: ObjectStore, tenantId: string, standing: string | null = null) {
    this.#store = store;
    this.#tenantId = tenantId;
    if (standing !== null) this.#standing.add(standing);
  }

  /** Whether any wake of this tenant is known. */
  get areKnown(): boolean {
    return this.#standing.size + this.#stale.size > 0;
  }

  /** To be called when the tenant is this host's in that epoch, before any wake is put or deleted. */
  begin(epoch: number): void {
    this.#epoch = epoch;
    // Another host may have had the tenant since it was put, and have deleted it.
    for (const key of this.#standing)
      if (epochOf(key) !== epoch && this.#standing.delete(key)) this.#stale.add(key);
  }

  /** A wake of this tenant was seen in the store: it is deleted when it is over, but it may be gone already. */
  adopt(key: string): void {
    if (!this.#standing.has(key)) this.#stale.add(key);
  }

  /** Resolves once the store has a wake that will be due at `at` (now) or before. */
  async ensure(at: number): Promise<void> {
    const latest = minutePrefix(at);
    if ([...this.#standing].some((key) => key.slice(0, latest.length) <= latest)) return;
    this.#ensuring ??= this.#put(at).finally(() => (this.#ensuring = null));
    await this.#ensuring;
  }

  /** Leaves just the wake that is due at `at`, or none, and gives its key. The new one is there before an old one goes. */
  async settle(at: number | null): Promise<string | null> {
    await this.#ensuring?.catch(() => {});
    const keep = at === null ? null : (this.#standingIn(minutePrefix(at)) ?? (await this.#put(at)));
    for (const key of [...this.#standing, ...this.#stale]) {
      if (key === keep || epochOf(key) > this.#epoch) continue;
      // A delete whose answer is lost may have been made: from here on nobody may rely on the wake.
      this.#standing.delete(key);
      this.#stale.add(key);
      await this.#store.delete(key);
      this.#stale.delete(key);
    }
    return keep;
  }

  #standingIn(minute: string): string | undefined {
    return [...this.#standing].find((key) => key.startsWith(minute));
  }

  async #put(at: number): Promise<string> {
    const key = newWakeKey(this.#tenantId, { at, epoch: this.#epoch });
    await this.#store.put(key, "");
    this.#standing.add(key);
    return key;
  }
}
