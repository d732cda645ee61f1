import type { TenantStatus } from "./host.ts";

/** What can be said of a tenant that is open nowhere that could be asked. */
export function unavailableStatus(tenantId: string, reason: string): TenantStatus {
  return {
    id: tenantId,
    state: "unavailable",
    reason,
    epoch: null,
    host: null,
    region: null,
    sizeBytes: null,
    runs: {},
    restorePoint: null,
    replication: { state: "unknown", oldestUndurableAt: null, lastDurableAt: null, error: reason },
  };
}
