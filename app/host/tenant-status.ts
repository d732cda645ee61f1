import { stat } from "node:fs/promises";
import type { TenantStatus } from "./host.ts";
import type { HostedTenant } from "./hosted-tenant.ts";

/** A write that is not durable after so long shows as late. */
const lateAfterMs = 5_000;

/** `trouble`: why the host could not beat or prove itself the last time; null if it could. */
export async function statusOf(
  tenant: HostedTenant,
  { hostId, trouble }: { readonly hostId: string; readonly trouble: string | null },
): Promise<TenantStatus> {
  const { file } = tenant;
  const { rounds } = file;
  const error = rounds.lastError ?? trouble;
  const oldest = rounds.oldestUndurableAt;
  const late = oldest !== null && Date.now() - oldest > lateAfterMs;
  return {
    id: tenant.id,
    state: "open",
    reason: null,
    epoch: file.epoch,
    host: hostId,
    region: file.region,
    sizeBytes: await sizeOf(file.path),
    runs: await tenant.journal.countRunsByStatus(),
    restorePoint: null,
    replication: {
      state: error !== null ? "failing" : late ? "late" : "ok",
      oldestUndurableAt: oldest,
      lastDurableAt: rounds.lastPassedAt,
      error,
    },
  };
}

/** Of the database and of what its WAL holds beside it. */
export async function sizeOf(path: string): Promise<number> {
  const sizes = [path, `${path}-wal`].map((part) =>
    stat(part).then(
      ({ size }) => size,
      () => 0,
    ),
  );
  return (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0);
}
