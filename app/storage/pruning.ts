import type { ObjectStore } from "./object-store.ts";
import type { OwnedRecord } from "./owned-record.ts";
import { newestMarked, type LineageEntry, type TenantRecord } from "./records.ts";
import { sideBySide } from "./side-by-side.ts";
import { snapshotsPrefix } from "./snapshot.ts";

/** Objects deleted in one pass; what is left goes in the next one. */
const maxDeletesPerPass = 500;
const deletesAtOnce = 4;

export interface PruneOptions {
  readonly store: ObjectStore;
  /** Epoch milliseconds. */
  readonly now: number;
  /** Epochs that ended longer ago go. */
  readonly historyMs: number;
}

export interface Pruned {
  readonly epochs: number;
  readonly objects: number;
  /** Whether more is left to delete than one pass may. */
  readonly isDone: boolean;
}

/**
 * Deletes what nobody will ask for any more: epochs that ended longer ago than the window, objects of epochs that are in
 * no lineage, snapshots that the record does not name. Only for the tenant's owner, whose own epoch is marked: whoever
 * else may be restoring began before that and will find, when it reads the record again, that its restore is void.
 * The lineage comes first. Killed after it, at any point, the objects are still found: by the list, not by memory. Nothing
 * that this deletes can be wanted again, even if the tenant was lost meanwhile: epochs never come back, and the newest
 * marked one only rises. Throws StoreUnavailableError, RecordChangedError.
 */
export async function pruneTenant(record: OwnedRecord, options: PruneOptions): Promise<Pruned> {
  const { tenantId, epoch } = record;
  if (newestMarked(record.value)?.epoch !== epoch) return { epochs: 0, objects: 0, isDone: true };
  const outdated = new Set(outdatedEpochs(record.value, options.now - options.historyMs));
  if (outdated.size > 0) await record.forget(outdated);
  const unwanted = unwantedKeys(
    record.value,
    { tenantId, epoch },
    await options.store.list(`tenants/${tenantId}/`),
  );
  const objects = await deleteSome(options.store, unwanted.slice(0, maxDeletesPerPass), () => record.isOver);
  return { epochs: outdated.size, objects, isDone: objects === unwanted.length };
}

/** Epochs behind the newest marked one that nobody restores from any more: unmarked, or ended at or before `until`. */
function outdatedEpochs({ lineage }: TenantRecord, until: number): readonly number[] {
  const marked = lineage.filter(({ from }) => from !== null);
  const newest = marked.at(-1)?.epoch ?? 0;
  return lineage
    .filter(({ epoch }) => epoch < newest)
    .filter((entry) => entry.from === null || endOf(entry, marked) <= until)
    .map(({ epoch }) => epoch);
}

/** An epoch whose host crashed ended at the latest when the next marked one began. */
function endOf({ epoch, closedAt }: LineageEntry, marked: readonly LineageEntry[]): number {
  return closedAt ?? marked.find((next) => next.epoch > epoch)?.openedAt ?? Number.POSITIVE_INFINITY;
}

/** Of epochs before this one only: a taker's own objects, and a release's snapshot, come before the record tells of them. */
function unwantedKeys(
  record: TenantRecord,
  { tenantId, epoch }: { readonly tenantId: string; readonly epoch: number },
  keys: readonly string[],
): readonly string[] {
  const known = new Set(record.lineage.map((entry) => entry.epoch));
  const named = nameOf(record.snapshot);
  return keys.filter((key) => {
    const replica = epochIn(key, `tenants/${tenantId}/e`);
    if (replica !== undefined) return replica < epoch && !known.has(replica);
    const snapshot = epochIn(key, `${snapshotsPrefix(tenantId)}e`);
    return snapshot !== undefined && snapshot < epoch && key !== named;
  });
}

/** The number that follows `prefix` and ends the key's part; undefined for a key of another form. */
function epochIn(key: string, prefix: string): number | undefined {
  if (!key.startsWith(prefix)) return undefined;
  const [digits] = key.slice(prefix.length).split("/");
  return digits !== undefined && /^\d+$/.test(digits) ? Number(digits) : undefined;
}

/** Also of a form that this code does not know: whoever wrote it will ask for it. */
function nameOf(snapshot: unknown): unknown {
  return typeof snapshot === "object" && snapshot !== null && "key" in snapshot ? snapshot.key : undefined;
}

/** Ends early when the tenant is let go: its next owner carries on. */
async function deleteSome(
  store: ObjectStore,
  keys: readonly string[],
  isOver: () => boolean,
): Promise<number> {
  let deleted = 0;
  await sideBySide(keys, deletesAtOnce, async (key) => {
    if (isOver()) return;
    await store.delete(key);
    deleted += 1;
  });
  return deleted;
}
