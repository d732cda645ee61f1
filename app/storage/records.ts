import { randomUUID } from "node:crypto";
import * as z from "zod";
import { type ObjectStore, type PutCondition, StoreUnavailableError } from "./object-store.ts";

/** `hosts/<host>.json`. A taker sets `fenced`; nothing sets it back. Times are epoch milliseconds. */
const hostRecord = z.looseObject({
  nonce: z.string(),
  /** The Machine, the same over its restarts. */
  machine: z.string(),
  address: z.string(),
  region: z.string(),
  beatAt: z.number(),
  ttlMs: z.number(),
  state: z.enum(["live", "draining", "fenced"]),
  /** When another host has set `fenced`, by that one's clock. */
  fencedAt: z.number().optional(),
});
export type HostRecord = Readonly<z.infer<typeof hostRecord>>;

/** One epoch of a tenant. `from` is the mark: written once its first snapshot is in the store, before anything is acknowledged. */
const lineageEntry = z.looseObject({
  epoch: z.int().positive(),
  /** Who claimed it: a later claim by the same Machine may go on from its own file. */
  machine: z.string(),
  /** Epoch 0 means: from nothing. `txid` is null when it went on from a file, not from a replica. */
  from: z.looseObject({ epoch: z.int().nonnegative(), txid: z.int().nonnegative().nullable() }).nullable(),
  openedAt: z.number(),
  closedAt: z.number().nullable(),
  /** Litestream's txid of the last round before the release; null while open or if never written. */
  txid: z.int().nonnegative().nullable(),
  /** Number of migrations that the file had. */
  schema: z.int().nonnegative().nullable(),
});
export type LineageEntry = Readonly<z.infer<typeof lineageEntry>>;

/** `tenants/<t>/tenant.json`: whose the tenant is. Only its owner changes it. */
const tenantRecord = z.looseObject({
  nonce: z.string(),
  epoch: z.int().positive(),
  host: z.string().nullable(),
  region: z.string(),
  lineage: z.array(lineageEntry),
  forkOf: z.null(),
  erasedAt: z.number().nullable(),
  /** The tenant's data key that values were sealed with; null or absent while they are clear. */
  dataKey: z.string().nullable().optional(),
  /** The file of the epoch that was closed last, as one object: see `snapshot.ts`, which alone knows its form. */
  snapshot: z.unknown().optional(),
  /** When its owner found nothing left to prune. */
  prunedAt: z.number().optional(),
});
export type TenantRecord = Readonly<z.infer<typeof tenantRecord>>;

/** The epoch whose replica is the tenant's history; undefined if nothing was ever acknowledged. */
export function newestMarked({ lineage }: Pick<TenantRecord, "lineage">): LineageEntry | undefined {
  return lineage.findLast(({ from }) => from !== null);
}

export interface Versioned<Value> {
  readonly value: Value;
  readonly etag: string;
}

/** The record was written by someone else since we read it. */
export class RecordChangedError extends Error {
  override readonly name = "RecordChangedError";
}

export class UnreadableRecordError extends Error {
  override readonly name = "UnreadableRecordError";
  readonly key: string;
  constructor(key: string, options?: ErrorOptions) {
    super(`The object "${key}" is not a record that this code can read.`, options);
    this.key = key;
  }
}

const hostsPrefix = "hosts/";

export function hostKey(hostId: string): string {
  return `${hostsPrefix}${hostId}.json`;
}

/** Of every host that has a record, this one too. Throws StoreUnavailableError. */
export async function listHosts(store: ObjectStore): Promise<readonly string[]> {
  const keys = await store.list(hostsPrefix);
  return keys.map((key) => key.slice(hostsPrefix.length).replace(/\.json$/, ""));
}

export function tenantKey(tenantId: string): string {
  return `tenants/${tenantId}/tenant.json`;
}

export function freshNonce(): string {
  return randomUUID();
}

export function readHostRecord(
  store: ObjectStore,
  hostId: string,
): Promise<Versioned<HostRecord> | undefined> {
  return readRecord(store, hostKey(hostId), hostRecord);
}

export function readTenantRecord(
  store: ObjectStore,
  tenantId: string,
): Promise<Versioned<TenantRecord> | undefined> {
  return readRecord(store, tenantKey(tenantId), tenantRecord);
}

async function readRecord<Value>(
  store: ObjectStore,
  key: string,
  schema: z.ZodType<Value>,
): Promise<Versioned<Value> | undefined> {
  const object = await store.get(key);
  if (object === undefined) return undefined;
  try {
    return { value: schema.parse(JSON.parse(new TextDecoder().decode(object.body))), etag: object.etag };
  } catch (error) {
    throw new UnreadableRecordError(key, { cause: error });
  }
}

/**
 * Writes a record under a condition. When it is refused or the answer is lost, it reads again: our nonce there means
 * that it was applied. Throws RecordChangedError when it was not and cannot be; StoreUnavailableError when that is not
 * known, or when it may still be applied later.
 */
export async function putRecord<Value extends { readonly nonce: string }>(
  store: ObjectStore,
  key: string,
  value: Value,
  condition: PutCondition,
): Promise<Versioned<Value>> {
  try {
    return { value, etag: (await store.put(key, JSON.stringify(value), condition)).etag };
  } catch (error) {
    const now = await store.get(key);
    if (now !== undefined && nonceOf(now.body) === value.nonce) return { value, etag: now.etag };
    if (error instanceof StoreUnavailableError) throw error;
    throw new RecordChangedError(`The object "${key}" was changed by someone else.`, { cause: error });
  }
}

function nonceOf(body: Uint8Array): unknown {
  try {
    const value: unknown = JSON.parse(new TextDecoder().decode(body));
    return typeof value === "object" && value !== null && "nonce" in value ? value.nonce : undefined;
  } catch {
    return undefined;
  }
}
