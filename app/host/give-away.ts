import { releaseParked } from "../storage/park.ts";
import type { Parked } from "./hosted-tenant.ts";
import type { SlotOptions } from "./slot-options.ts";

/** Gives a parked tenant away. Never rejects: of what fails, nothing is lost. */
export async function giveAway(
  { tenant, due }: Parked,
  { storage, onReleased, log }: Pick<SlotOptions, "storage" | "onReleased" | "log">,
): Promise<void> {
  const facts = { tenant: tenant.id, epoch: tenant.epoch };
  try {
    await releaseParked(tenant, storage);
    onReleased(due);
    log.info({ event: "tenant.released", ...facts }, "tenant released");
  } catch (error) {
    // All of it is durable, and its wake stands: whoever wants it next claims it.
    log.warn({ err: error, ...facts }, "a parked tenant could not be given away");
  }
}
