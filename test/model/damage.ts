import { replicaPath } from "../../app/storage/place-file.ts";
import { newestMarked, tenantKey, type TenantRecord } from "../../app/storage/records.ts";
import { snapshotsPrefix } from "../../app/storage/snapshot.ts";
import type { Random } from "../crash/drill/random.ts";
import type { MemoryStore } from "../fakes/memory-store.ts";
import type { Machine } from "./machine.ts";

/**
 * A cache may vanish in part while nobody uses it. Under a running host, or its Litestream, a file in use may not: one that
 * has lost something would be shipped as it is, and a Litestream that is started anew without
 * its notes ships under numbers of which a request of the one before may still be on its way, and come last.
 */
export function damageDisk({ host, survivors, disk }: Machine, random: Random): void {
  if (survivors.length > 0) return;
  const folders =
    host === null
      ? [...disk.all()]
      : host.tenantsAtRest.flatMap((tenantId) => [...disk.epochs(tenantId).values()]);
  for (const folder of folders) {
    if (folder.file === null || !random.chance(0.5)) continue;
    if (random.chance(0.3)) folder.shipping = null;
    if (random.chance(0.3)) folder.note = null;
    const { file } = folder;
    const what = random.pick(["all of it", "a page", "its WAL", "its WAL", "its WAL"]);
    if (what === "all of it") folder.file = null;
    // One that is parked is looked at only from outside when it is used again.
    else if (what === "a page") file.damaged = host === null;
    else file.writes.length = random.between(file.checkpointed, file.writes.length);
  }
}

/**
 * The tenant's newest replica loses its first transaction, or its last: nobody can restore from it. The last only if the
 * record says which it is, as it does of an epoch that is closed; of another nobody could know. False if there is none.
 */
export function damageBucket({ objects }: MemoryStore, tenantId: string, random: Random): boolean {
  const record = objects.get(tenantKey(tenantId));
  if (record === undefined) return false;
  const { host, lineage } = JSON.parse(record) as TenantRecord;
  const newest = newestMarked({ lineage });
  if (newest === undefined) return false;
  const keysIn = (prefix: string): string[] =>
    [...objects.keys()].filter((key) => key.startsWith(prefix)).toSorted();
  for (const key of keysIn(snapshotsPrefix(tenantId))) objects.delete(key);
  const transactions = keysIn(`${replicaPath(tenantId, newest.epoch)}/ltx/`);
  const isEndKnown = host === null && newest.txid !== null;
  // Without its first nothing can be restored, as long as a late request does not bring it back: so no other goes.
  const first = transactions.find((key) => key.endsWith("-0000000000000001.ltx"));
  const lost = isEndKnown && random.chance(0.5) ? transactions.at(-1) : first;
  return lost !== undefined && objects.delete(lost);
}

export function forgetFencedHosts({ objects }: MemoryStore): void {
  for (const [key, body] of objects)
    if (key.startsWith("hosts/") && body.includes('"fenced"')) objects.delete(key);
}
