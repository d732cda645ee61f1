import type { StoragePorts } from "../storage/open-tenant.ts";
import type { Due, HostedTenantOptions } from "./hosted-tenant.ts";
import type { OpeningQueue } from "./opening-queue.ts";
import type { TenantSlot } from "./tenant-slot.ts";

/** What a tenant's slot needs of its host, and what it tells it. */
export type SlotOptions = Omit<HostedTenantOptions, "wakes" | "onBroken"> & {
  readonly storage: StoragePorts;
  readonly openings: OpeningQueue;
  /** Told when the last one who used the tenant is done. */
  readonly onUnused: () => void;
  readonly onOpened: () => void;
  /** Told when the tenant was not opened, as it is to be served elsewhere. */
  readonly onElsewhere: () => void;
  /** Told of a tenant that was claimed, and may have wakes in the store that are not known here. */
  readonly onWakesUnknown: () => void;
  readonly onParked: (slot: TenantSlot, due: Due | null) => void;
  /** Told after a release when unfinished runs are due again; null if nothing is. */
  readonly onReleased: (due: Due | null) => void;
};
