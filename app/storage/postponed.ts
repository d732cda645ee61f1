import type { ObjectStore } from "./object-store.ts";
import { isTenantName, type Wake } from "./wakes.ts";

const prefix = "postponed/";
const minuteMs = 60_000;
/** However long a tenant could not be opened, it is tried again after this. */
const maxDelayMs = 60 * minuteMs;
/** A tenant that was not tried for so long after its time has been well meanwhile, or nobody was there to look. */
const forgottenAfterMs = 10 * minuteMs;
/** Clocks of hosts may differ by so much. */
const clockSlackMs = 2 * minuteMs;
/** What lies farther ahead than any host could have meant, with its minute rounded up, is not heeded. */
const maxAheadMs = maxDelayMs + minuteMs + clockSlackMs;

/**
 * A tenant that could not be opened, by its own fault: until when its wakes are not served, so that no host is started for it
 * every minute. `postponed/<tenant>/<since>/<until>`, by UTC minutes. The wakes stay where they are: only who has the tenant may
 * delete those. Times are epoch milliseconds.
 */
export interface Postponed {
  readonly key: string;
  readonly tenantId: string;
  /** When it could not be opened for the first time. */
  readonly since: number;
  readonly until: number;
}

/** Every tenant's; there may be several of one, of which the last counts. */
export async function listPostponed(store: ObjectStore, tenantId?: string): Promise<readonly Postponed[]> {
  const keys = await store.list(tenantId === undefined ? prefix : `${prefix}${tenantId}/`);
  return keys.flatMap((key) => {
    const [tenant = "", from, to] = key.slice(prefix.length).split("/");
    const [since, until] = [from, to].map((minute) => Date.parse(`${minute}:00.000Z`));
    if (!isTenantName(tenant) || since === undefined || until === undefined) return [];
    return Number.isNaN(since + until) ? [] : [{ key, tenantId: tenant, since, until }];
  });
}

/** Whether the entry has no more effect on anything, whatever clock it was written by. */
export function isForgotten({ until }: Postponed, now: number): boolean {
  return now - until >= forgottenAfterMs + clockSlackMs || until - now > maxAheadMs;
}

/** The tenants whose wakes are not to be served at `now`. */
function postponedAt(postponed: readonly Postponed[], now: number): ReadonlySet<string> {
  const heeded = postponed.filter(({ until }) => now < until && until - now <= maxAheadMs);
  return new Set(heeded.map(({ tenantId }) => tenantId));
}

/** The wakes that are due at `until`, without those of tenants that are postponed at `now`. */
export function wakesToServe(
  wakes: readonly Wake[],
  postponed: readonly Postponed[],
  { now, until = now }: { readonly now: number; readonly until?: number },
): readonly Wake[] {
  const waiting = postponedAt(postponed, now);
  return wakes.filter(({ at, tenantId }) => at <= until && !waiting.has(tenantId));
}

/**
 * The tenant could not be opened at `now`: its wakes are not served for a while, at first for a minute, then for as long as it
 * has been so already, an hour at most. Gives until when. One that is postponed already stays so.
 */
export async function postpone(store: ObjectStore, tenantId: string, now: number): Promise<number> {
  const known = await listPostponed(store, tenantId);
  const last = known.toSorted((a, b) => a.until - b.until).at(-1);
  if (last !== undefined && postponedAt([last], now).size > 0) return last.until;
  const goesOn = last !== undefined && last.until <= now && now - last.until < forgottenAfterMs;
  const since = Math.min(now, goesOn ? last.since : now);
  const end = now + Math.min(Math.max(now - since, minuteMs), maxDelayMs);
  const until = Math.ceil(end / minuteMs) * minuteMs;
  const key = `${prefix}${tenantId}/${minuteOf(since)}/${minuteOf(until)}`;
  await store.put(key, "");
  for (const old of known) if (old.key !== key) await store.delete(old.key);
  return until;
}

function minuteOf(at: number): string {
  return new Date(at).toISOString().slice(0, 16);
}
