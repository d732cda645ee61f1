import { createHash } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import * as z from "zod";
import type { Codec } from "./codec.ts";
import type { LocalFiles } from "./local-files.ts";
import type { ObjectStore } from "./object-store.ts";
import { newestMarked, type TenantRecord } from "./records.ts";
import { Turns } from "./turns.ts";

/** A larger one is not put: its GET alone would take as long as Litestream's listings. */
const maxSnapshotBytes = 4 * 1024 * 1024;
/** A release waits no longer for its snapshot; one that comes later is named by nobody, and pruned. */
const leaveWithinMs = 5_000;
/**
 * Files are held in memory, twice for a moment: so many bytes of them at a time. A small one counts for more than it is, which
 * bounds how many are under way, and these can wait for a far store side by side.
 */
const turns = new Turns(128 * 1024 * 1024);
const leastBytes = 2 * 1024 * 1024;

/**
 * A closed epoch's file as one object, named in the tenant's record by the very write that closed the epoch: so it is what
 * the epoch's replica holds at that txid, as long as no later epoch was marked. Format 1: pages by zstd, sealed with the
 * tenant's data key.
 */
const snapshotSchema = z.looseObject({
  format: z.literal(1),
  epoch: z.int().positive(),
  txid: z.int().positive(),
  key: z.string(),
  /** Of the object, in hex. */
  sha256: z.string(),
  bytes: z.int().positive(),
  /** The data key that it is sealed with; null: it is clear. */
  keyId: z.string().nullable(),
});
export type Snapshot = Readonly<z.infer<typeof snapshotSchema>>;

/** Outside of Litestream's prefixes, which it lists and cleans by itself. */
export function snapshotsPrefix(tenantId: string): string {
  return `tenants/${tenantId}/snapshots/`;
}

/**
 * Puts the file of an epoch that ends: nobody writes it any more, and its last round passed with `txid`. Gives null for
 * a file that is too large. Rejects when it could not be put in time; the release goes on without it.
 */
export async function leaveSnapshot(
  store: ObjectStore,
  source: {
    readonly tenantId: string;
    readonly epoch: number;
    readonly txid: number;
    readonly path: string;
    readonly codec: Codec;
    readonly files: LocalFiles;
  },
): Promise<Snapshot | null> {
  const late = new AbortController();
  const leaving = turns.take(
    async () => (late.signal.aborted ? null : await putSnapshot(store, source)),
    Math.max(leastBytes, source.files.size(source.path).main),
  );
  leaving.catch(() => {});
  const timer = sleep(leaveWithinMs, undefined, { signal: late.signal }).then(() => {
    throw new Error(`it took longer than ${leaveWithinMs} ms`);
  });
  timer.catch(() => {});
  try {
    return await Promise.race([leaving, timer]);
  } finally {
    late.abort();
  }
}

async function putSnapshot(
  store: ObjectStore,
  { tenantId, epoch, txid, path, codec, files }: Parameters<typeof leaveSnapshot>[1],
): Promise<Snapshot | null> {
  const packed = await files.pack(path);
  if (packed === null || packed.byteLength > maxSnapshotBytes) return null;
  const body = codec.sealBytes(packed, placeOf(tenantId, { epoch, txid }));
  const key = `${snapshotsPrefix(tenantId)}e${epoch}`;
  await store.put(key, body);
  const { keyId } = codec;
  return { format: 1, epoch, txid, key, sha256: hashOf(body), bytes: body.byteLength, keyId };
}

/**
 * The snapshot that a record names, if it is all that the tenant has: of its newest marked epoch, as that was closed. A
 * string says why one that is named may not be used; undefined: there is none.
 */
export function currentSnapshot(record: TenantRecord): Snapshot | string | undefined {
  const { snapshot } = record;
  if (snapshot === undefined || snapshot === null) return undefined;
  const newest = newestMarked(record);
  const parsed = parseSnapshot(snapshot);
  if (parsed === null) return "its form is not known to this code";
  const { epoch, txid } = parsed;
  if (newest?.epoch !== epoch) return undefined;
  if (newest.closedAt === null || newest.txid !== txid)
    return `it is of txid ${txid}, and epoch ${epoch} ended at txid ${newest.txid ?? "unknown"}`;
  return parsed;
}

/** What a record names, in a form that this code knows; else null. */
export function parseSnapshot(named: unknown): Snapshot | null {
  return snapshotSchema.safeParse(named).data ?? null;
}

/** Reads the object; what it holds is checked by `openSnapshot`. Throws StoreUnavailableError. */
export async function fetchSnapshot(store: ObjectStore, { key }: Snapshot): Promise<Uint8Array | undefined> {
  return (await store.get(key))?.body;
}

/** The packed file that a snapshot's object holds. Throws with what is wrong with it. */
export function openSnapshot(
  tenantId: string,
  snapshot: Snapshot,
  { body, codec }: { readonly body: Uint8Array | undefined; readonly codec: Codec },
): Uint8Array {
  if (body === undefined) throw new Error(`the object ${snapshot.key} is gone`);
  if (hashOf(body) !== snapshot.sha256)
    throw new Error(`the object ${snapshot.key} is not what was put there`);
  return codec.openBytes(body, snapshot.keyId, placeOf(tenantId, snapshot));
}

function placeOf(tenantId: string, { epoch, txid }: Pick<Snapshot, "epoch" | "txid">): string {
  return `snapshot:${tenantId}:${epoch}:${txid}`;
}

function hashOf(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}
