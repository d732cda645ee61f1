import { Counter, Gauge, type Registry } from "prom-client";
import { runStatuses } from "../engine/journal.ts";
import type { WorkerHost } from "./worker-host.ts";

/** Registers what a host tells of itself; read at each scrape. */
export function registerHostMetrics(host: WorkerHost, registry: Registry): void {
  const registers = [registry];
  gauge(
    "holdfast_undurable_tenants",
    "Open tenants with a write that is not durable yet.",
    () => host.openTenants().filter(({ file }) => !file.rounds.isCovered).length,
  );
  gauge(
    "holdfast_gate_failing_tenants",
    "Open tenants whose last attempt to become durable failed.",
    () => host.openTenants().filter(({ file }) => file.rounds.lastError !== null).length,
  );
  gauge("holdfast_ready", "1 if this host is ready to serve.", () => (host.readiness().ready ? 1 : 0));
  gauge("holdfast_open_tenants", "Tenants that are open on this host.", () => host.openTenants().length);
  gauge("holdfast_parked_tenants", "Tenants of this host that nobody uses and that left memory.", () =>
    host.parkedTenants(),
  );
  gauge("holdfast_waiting_openings", "Tenants that wait to be opened, for a place or for their turn.", () =>
    host.waitingOpenings(),
  );
  gauge(
    "holdfast_unavailable_tenants",
    "Tenants that could not be opened the last time that was tried.",
    () => host.unavailableTenants(),
  );
  gauge("holdfast_parked_runs", "Runs that left memory and wait for a moment, on open tenants.", () =>
    host.openTenants().reduce((sum, tenant) => sum + tenant.runs.parked, 0),
  );
  const runs: Gauge<"status"> = new Gauge({
    name: "holdfast_runs",
    help: "Runs in memory, by what they are doing, and those that wait for a place there as queued; one that only waits leaves memory after seconds.",
    labelNames: ["status"],
    registers,
    collect() {
      for (const status of runStatuses) runs.set({ status }, 0);
      for (const tenant of host.openTenants()) {
        runs.inc({ status: "queued" }, tenant.runs.coming);
        for (const [status, count] of tenant.runs.countLive()) runs.inc({ status }, count);
      }
    },
  });

  const evicted: Counter = new Counter({
    name: "holdfast_evicted_files_total",
    help: "Local files of tenants that were deleted because of HOLDFAST_MAX_DISK.",
    registers,
    collect() {
      evicted.reset();
      evicted.inc(host.evictions());
    },
  });

  function gauge(name: string, help: string, read: () => number): void {
    const made: Gauge = new Gauge({ name, help, registers, collect: () => made.set(read()) });
  }
}
