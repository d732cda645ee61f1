import { setTimeout as sleep } from "node:timers/promises";
import type { BenchWorker } from "./worker-place.ts";

/** What a worker's `/metrics` says of one name without labels. */
export async function readMetrics(
  { url }: BenchWorker,
  names: readonly string[],
): Promise<Readonly<Record<string, number>>> {
  const answer = await fetch(`${url}/metrics`, { signal: AbortSignal.timeout(10_000) });
  const text = await answer.text();
  return Object.fromEntries(
    names.map((name) => [name, Number(new RegExp(`^${name} (\\S+)$`, "m").exec(text)?.[1])]),
  );
}

/** Resolves once so many tenants are parked. */
export async function untilParked(worker: BenchWorker, tenants: number, withinMs: number): Promise<void> {
  const deadline = performance.now() + withinMs;
  for (;;) {
    const { holdfast_parked_tenants: parked = 0 } = await readMetrics(worker, ["holdfast_parked_tenants"]);
    if (parked >= tenants) return;
    if (performance.now() > deadline) throw new Error(`Only ${parked} of ${tenants} tenants were parked.`);
    await sleep(200);
  }
}

/** Bytes of a worker that was started with `collect-on-signal.ts`, after its garbage is gone. */
export async function collectedMemory(worker: BenchWorker): Promise<{
  readonly heap: number;
  readonly external: number;
  readonly rss: number;
  readonly descriptors: number;
}> {
  for (let i = 0; i < 4; i += 1) {
    process.kill(worker.pids.worker, "SIGUSR2");
    await sleep(250);
  }
  const found = await readMetrics(worker, [
    "nodejs_heap_size_used_bytes",
    "nodejs_external_memory_bytes",
    "process_resident_memory_bytes",
    "process_open_fds",
  ]);
  return {
    heap: found["nodejs_heap_size_used_bytes"] ?? Number.NaN,
    external: found["nodejs_external_memory_bytes"] ?? Number.NaN,
    rss: found["process_resident_memory_bytes"] ?? Number.NaN,
    descriptors: found["process_open_fds"] ?? Number.NaN,
  };
}
