import { setTimeout as sleep } from "node:timers/promises";
import type { WorkerLife } from "../../support/worker.ts";
import type { Ledger } from "./ledger.ts";
import type { TenantId } from "./plan.ts";

/** Unfinished runs that nobody asks for have so long to end. */
const quietWithinMs = 30_000;

/**
 * Resolves when `wanted` were opened without anybody's call and nothing is left to do for any run. Asks only what belongs to
 * no tenant. That it does not come about is a violation.
 */
export async function whenQuiet(
  life: WorkerLife,
  ledger: Ledger,
  wanted: readonly TenantId[] = [],
): Promise<void> {
  const deadline = performance.now() + quietWithinMs;
  for (let quietLooks = 0; quietLooks < 3;) {
    await sleep(25);
    const opened = new Set(life.events("tenant.opened").map(({ tenant }) => tenant));
    const missing = wanted.filter((tenant) => !opened.has(tenant));
    const busy = await countBusy(life);
    quietLooks = missing.length === 0 && busy === 0 ? quietLooks + 1 : 0;
    if (performance.now() < deadline) continue;
    const why = `not opened: ${missing.join(", ") || "none"}; runs under way: ${busy}`;
    ledger.violate("not-resumed", `${why}. ${life.describe()}`);
    return;
  }
}

async function countBusy(life: WorkerLife): Promise<number> {
  const metrics = await life.metrics();
  const statuses = ["queued", "running", "sleeping"];
  const samples = [...statuses.map((status) => `holdfast_runs{status="${status}"}`), "holdfast_parked_runs"];
  return samples.reduce((sum, sample) => sum + (metrics.get(sample) ?? 1), 0);
}
