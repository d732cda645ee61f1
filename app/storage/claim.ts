import { TenantUnavailableError } from "./errors.ts";
import { fenceHost } from "./host-record.ts";
import { type ObjectStore, StoreUnavailableError } from "./object-store.ts";
import {
  freshNonce,
  putRecord,
  readHostRecord,
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
}

export interface ClaimFacts {
  /** Epoch milliseconds. */
  readonly now: number;
  /** Number of migrations that this code knows. */
  readonly schema: number;
  /** The epoch of the newest file of the tenant on this Machine, null if there is none. */
  readonly localEpoch: number | null;
}

/** A tenant that is ours: its record as we wrote it, and as it was before. */
export interface Claim {
  readonly tenantId: string;
  readonly epoch: number;
  readonly record: Versioned<TenantRecord>;
  /** Undefined for a tenant that nobody had claimed. */
  readonly before: TenantRecord | undefined;
}

/**
 * Makes this host the tenant's, opening the next epoch. A host that is an earlier life of this Machine is fenced first:
 * it may still be writing. Only the caller may call this who has no open epoch of the tenant. Throws
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
    const holder = current?.value.host ?? null;
    if (holder !== null && holder !== claimer.hostId) await takeFrom(store, tenantId, holder, claimer);
    const next = nextEpoch(current?.value, claimer, facts);
    const condition = current === undefined ? ({ ifNoneMatch: "*" } as const) : { ifMatch: current.etag };
    const record = await putRecord(store, tenantKey(tenantId), next, condition);
    return { tenantId, epoch: next.epoch, record, before: current?.value };
  } catch (error) {
    throw asUnavailable(tenantId, error);
  }
}

/** A record that is missing beside what it told of was lost, or this is another store: neither is a new tenant. */
async function assertNew(store: ObjectStore, tenantId: string, localEpoch: number | null): Promise<void> {
  const [found] = await store.list(`tenants/${tenantId}/`);
  if (found !== undefined)
    throw new TenantUnavailableError(
      `The object ${tenantKey(tenantId)} is gone, and there is "${found}". Put it back from a backup.`,
      { retryAfterSeconds: 60 },
    );
  if (localEpoch !== null)
    throw new TenantUnavailableError(
      `The store ${store.description} knows nothing of tenant "${tenantId}", and the data folder has its epoch ${localEpoch}. Is HOLDFAST_STORE the right one? If it is, remove the tenant's folder from HOLDFAST_DATA.`,
      { retryAfterSeconds: 60 },
    );
}

/** Ends the holder's right to the tenant, if it may be ended. */
async function takeFrom(
  store: ObjectStore,
  tenantId: string,
  holder: string,
  claimer: Claimer,
): Promise<void> {
  const record = await readHostRecord(store, holder);
  if (record === undefined || record.value.state === "fenced") return;
  if (record.value.machine !== claimer.machine)
    throw new TenantUnavailableError(
      `Tenant "${tenantId}" is held by host "${holder}" on Machine "${record.value.machine}". Moving a tenant between Machines is not supported yet: stop that host properly, and it lets go.`,
      { retryAfterSeconds: 15 },
    );
  if (!(await fenceHost(store, holder)))
    throw new TenantUnavailableError(`Tenant "${tenantId}" is held by host "${holder}", which lives.`, {
      retryAfterSeconds: 5,
    });
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
  const newestMarked = lineage.findLast(({ from }) => from !== null)?.epoch ?? 0;
  return lineage.filter(
    (entry) =>
      entry.from !== null ||
      (entry.epoch > newestMarked && (entry.machine !== machine || entry.epoch === localEpoch)),
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
    });
  if (error instanceof StoreUnavailableError)
    return new TenantUnavailableError(`Tenant "${tenantId}" cannot be opened: ${error.message}`, {
      cause: error,
    });
  return error;
}
