import type { EngineLog } from "../engine/log.ts";
import type { FarFromHome } from "../storage/claim.ts";
import { openTenant, type StoragePorts } from "../storage/open-tenant.ts";
import { unparkTenant, type ParkedTenant } from "../storage/park.ts";
import type { CrashQuarantine } from "./crash-quarantine.ts";
import { HostedTenant, type HostedTenantOptions } from "./hosted-tenant.ts";

export interface OpeningOptions extends HostedTenantOptions {
  readonly storage: StoragePorts;
  readonly quarantine: CrashQuarantine;
  readonly farFromHome?: FarFromHome;
  readonly log: EngineLog;
  /** Told of a tenant whose runs could not be taken up; it is to be abandoned before the opening fails. */
  readonly abandon: (tenant: HostedTenant, why: unknown) => Promise<void>;
}

/** Opens the tenant's file, in a new epoch or, if it is parked, in its own, and takes up its runs. */
export async function openHosted(
  tenantId: string,
  parked: ParkedTenant | null,
  options: OpeningOptions,
): Promise<HostedTenant> {
  const { storage, quarantine, log } = options;
  const file = await (parked === null
    ? openTenant(tenantId, storage, options.farFromHome)
    : unparkTenant(parked, storage));
  const tenant = new HostedTenant(file, options);
  try {
    if (!file.followsRelease) await quarantine.impose(tenant);
    await tenant.runs.open();
  } catch (error) {
    await options.abandon(tenant, error);
    throw error;
  }
  log.info({ event: "tenant.opened", tenant: tenantId, ...file.report }, "tenant opened");
  return tenant;
}
