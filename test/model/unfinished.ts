import { replicaPath } from "../../app/storage/place-file.ts";
import { newestMarked, tenantKey, type TenantRecord } from "../../app/storage/records.ts";
import type { Ltx } from "../fakes/memory-disk.ts";
import type { MemoryStore } from "../fakes/memory-store.ts";
import { ltxFolder } from "./litestream.ts";
import { textOf, Violation } from "./witness.ts";

/** A write whose name ends so leaves work unfinished; any other one finishes all that there was. */
export const leavesWork = "+";

/** Whether somebody must look at the tenant again although no client calls. */
export function isUnfinished(content: readonly string[]): boolean {
  return content.findLast(isClients)?.endsWith(leavesWork) === true;
}

/** Whatever dies now: work that a client was told of has a wake in the store, or was finished in what the store holds. */
export function assertWoken(store: MemoryStore, tenantId: string, shown: readonly string[]): void {
  if (!isUnfinished(shown) || hasWake(store, tenantId)) return;
  const left = contentIn(store, tenantId);
  const isFinished = left
    ?.slice(shown.length)
    .some((write) => isClients(write) && !write.endsWith(leavesWork));
  if (isFinished === false)
    throw new Violation(`tenant ${tenantId} has no wake, and ${textOf(shown)} was shown, which leaves work`);
}

function isClients(write: string): boolean {
  return write.startsWith("w");
}

function hasWake({ objects }: MemoryStore, tenantId: string): boolean {
  const ofTenant = new RegExp(`^wakes/[^/]+/${tenantId}($|\\.)`);
  return [...objects.keys()].some((key) => ofTenant.test(key));
}

/** What the next host would restore; undefined if that cannot be told. */
function contentIn({ objects }: MemoryStore, tenantId: string): readonly string[] | undefined {
  const newest = newestMarked(JSON.parse(objects.get(tenantKey(tenantId)) ?? "{}") as TenantRecord);
  if (newest === undefined) return undefined;
  const folder = ltxFolder(replicaPath(tenantId, newest.epoch));
  const content: string[] = [];
  for (const key of [...objects.keys()].filter((one) => one.startsWith(folder)).toSorted()) {
    const { snapshot, writes } = JSON.parse(objects.get(key) ?? "") as Ltx;
    if (snapshot) content.length = 0;
    content.push(...writes);
  }
  return content;
}
