import { ElsewhereError, TenantUnavailableError } from "./errors.ts";
import { fenceHost } from "./host-record.ts";
import { type ObjectStore, StoreUnavailableError } from "./object-store.ts";
import { holderOf, type Peers } from "./peers.ts";
import { dataKeyKey } from "./tenant-key.ts";
import {
  freshNonce,
  newestMarked,
  putRecord,
  readTenantRecord,
  RecordChangedError,
  tenantKey,
  UnreadableRecordError,
  type TenantRecord,
  type Versioned,
} from "./records.ts";

/** Who claims. */
export interface Claimer {
  readonly hostId: string;
  readonly machine: string;
  readonly region: string;
  readonly peers: Peers;
  readonly farFromHome: FarFromHome;
}

export interface ClaimFacts {
  /** Epoch milliseconds. */
  readonly now: number;
  /** Number of migrations that this code knows. */
  readonly schema: number;
  /** The epoch of the newest file of the tenant on this Machine, null if there is none. */
  readonly localEpoch: number | null;
  /**
   * Told just before the claim is sent, when nobody else may write the tenant any more: what the claim will need is read
   * meanwhile. It is the tenant's content exactly if the claim succeeds, which is refused if the record was changed since.
   */
  readonly onClaiming?: (before: TenantRecord) => void;
}

/**
 * Whether a tenant that nobody has, and whose home is another region, is claimed here all the same: `unless-served` if no
 * host of that region lives, `never` where something else may start one there, `always` for a request that was sent here.
 */
export type FarFromHome = "unless-served" | "never" | "always";

/** A tenant that is ours: its record as we wrote it, and as it was before. */
export interface Claim {
  readonly tenantId: string;
  readonly epoch: number;
  readonly record: Versioned<TenantRecord>;
  /** Undefined for a tenant that nobody had claimed. */
  readonly before: TenantRecord | undefined;
}

/**
 * Makes this host the tenant's, opening the next epoch. A host that had it and is stale, or is an earlier life of this
 * Machine, is fenced first: it may still be writing. Only the caller may call this who has no open epoch of the tenant.
 * Throws ElsewhereError if another host has the tenant and lives, or its home region is to serve it, and
 * TenantUnavailableError.
 */
export async function claimTenant(
  store: ObjectStore,
  tenantId: string,
  claimer: Claimer,
  facts: ClaimFacts,
): Promise<Claim> {
  try {
    const current = await readTenantRecord(store, tenantId);
    if (current === undefined) await assertNew(store, tenantId, facts.localEpoch);
    else await assertFree(store, tenantId, current.value, claimer);
    const next = nextEpoch(current?.value, claimer, facts);
    if (current !== undefined) facts.onClaiming?.(current.value);
    const condition = current === undefined ? ({ ifNoneMatch: "*" } as const) : { ifMatch: current.etag };
    const record = await putRecord(store, tenantKey(tenantId), next, condition);
    return { tenantId, epoch: next.epoch, record, before: current?.value };
  } catch (error) {
    throw asUnavailable(tenantId, await whatCameBetween(store, tenantId, claimer, error));
  }
}

/** A record that is missing beside what it told of was lost, or this is another store: neither is a new tenant. */
async function assertNew(store: ObjectStore, tenantId: string, localEpoch: number | null): Promise<void> {
  // First the data key, which is made behind the first claim: whoever finds one finds that claim's record by the listing.
  const sealed = await store.get(dataKeyKey(tenantId));
  const keys = await store.list(`tenants/${tenantId}/`);
  const key = tenantKey(tenantId);
  if (keys.includes(key)) throw new RecordChangedError(`The object ${key} has come just now.`);
  const found = keys[0] ?? (sealed === undefined ? undefined : dataKeyKey(tenantId));
  if (found !== undefined)
    throw new TenantUnavailableError(
      `The object ${key} is gone, and there is "${found}". Put it back from a backup.`,
      { retryAfterSeconds: 60, damage: "record" },
    );
  if (localEpoch !== null)
    throw new TenantUnavailableError(
      `The store ${store.description} knows nothing of tenant "${tenantId}", and the data folder has its epoch ${localEpoch}. Is HOLDFAST_STORE the right one? If it is, remove the tenant's folder from HOLDFAST_DATA.`,
      { retryAfterSeconds: 60 },
    );
}

/** Resolves when nobody else has the tenant, or may serve it; whoever had it is fenced by then. */
async function assertFree(
  store: ObjectStore,
  tenantId: string,
  { host, region }: TenantRecord,
  claimer: Claimer,
): Promise<void> {
  if (host !== null && host !== claimer.hostId) await takeFrom(store, tenantId, host, claimer);
  if (host === claimer.hostId || region === claimer.region || claimer.farFromHome === "always") return;
  const served = (await claimer.peers.live()).find((peer) => peer.region === region);
  if (served !== undefined) throw new ElsewhereError(tenantId, served, "region");
  if (claimer.farFromHome === "never") throw new ElsewhereError(tenantId, { region }, "region");
}

/** Ends the holder's right to the tenant, if that is worth trying. */
async function takeFrom(
  store: ObjectStore,
  tenantId: string,
  holder: string,
  { machine, peers }: Claimer,
): Promise<void> {
  const peer = await peers.look(holder);
  if (peer.kind === "ended") return;
  const isOther = peer.record.machine !== machine;
  if (peer.kind === "live" && isOther) throw new ElsewhereError(tenantId, holderOf(holder, peer.record));
  if (await fenceHost(store, holder, { value: peer.record, etag: peer.etag })) return;
  // It has beaten just now, so it lives after all.
  if (isOther) throw new ElsewhereError(tenantId, holderOf(holder, peer.record));
  throw new TenantUnavailableError(`Tenant "${tenantId}" is held by host "${holder}", which lives.`, {
    retryAfterSeconds: 5,
  });
}

/** Who comes too late by a moment is told where the tenant is: gives the error that says so, else the one that it was given. */
async function whatCameBetween(
  store: ObjectStore,
  tenantId: string,
  { hostId, machine, peers }: Claimer,
  error: unknown,
): Promise<unknown> {
  if (!(error instanceof RecordChangedError)) return error;
  const holder = (await readTenantRecord(store, tenantId).catch(() => undefined))?.value.host ?? null;
  if (holder === null || holder === hostId) return error;
  const peer = await peers.look(holder).catch(() => undefined);
  const isElsewhere = peer?.kind === "live" && peer.record.machine !== machine;
  return isElsewhere ? new ElsewhereError(tenantId, holderOf(holder, peer.record)) : error;
}

function nextEpoch(
  current: TenantRecord | undefined,
  { hostId, machine, region }: Claimer,
  { now, schema, localEpoch }: ClaimFacts,
): TenantRecord {
  const epoch = (current?.epoch ?? 0) + 1;
  const entry = { epoch, machine, from: null, openedAt: now, closedAt: null, txid: null, schema };
  return {
    ...(current ?? { region, forkOf: null, erasedAt: null }),
    nonce: freshNonce(),
    epoch,
    host: hostId,
    lineage: [...worthKeeping(current?.lineage ?? [], { machine, localEpoch }), entry],
  };
}

/**
 * Without the epochs of this Machine that nobody will ask for any more, or a tenant that cannot be opened would grow its
 * record with every try: an unmarked epoch only says whether a file of it, which only its Machine has, may be used again.
 */
function worthKeeping(
  lineage: TenantRecord["lineage"],
  { machine, localEpoch }: { readonly machine: string; readonly localEpoch: number | null },
): TenantRecord["lineage"] {
  const marked = newestMarked({ lineage })?.epoch ?? 0;
  return lineage.filter(
    (entry) =>
      entry.from !== null ||
      (entry.epoch > marked && (entry.machine !== machine || entry.epoch === localEpoch)),
  );
}

function asUnavailable(tenantId: string, error: unknown): unknown {
  if (error instanceof RecordChangedError)
    return new TenantUnavailableError(`Tenant "${tenantId}" was claimed by another host just now.`, {
      cause: error,
      retryAfterSeconds: 1,
    });
  if (error instanceof UnreadableRecordError)
    return new TenantUnavailableError(`Tenant "${tenantId}" cannot be opened: ${error.message}`, {
      cause: error,
      retryAfterSeconds: 60,
      ...(error.key === tenantKey(tenantId) ? { damage: "record" } : {}),
    });
  if (error instanceof StoreUnavailableError)
    return new TenantUnavailableError(`Tenant "${tenantId}" cannot be opened: ${error.message}`, {
      cause: error,
    });
  return error;
}
