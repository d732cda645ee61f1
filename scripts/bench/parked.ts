import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import * as z from "zod";
import type { Figure, Part, Size } from "./figure.ts";

const processWithinMs = 90_000;
const sizes = { full: 10_000, tiny: 20 } as const;

/** What `parked-process.ts` prints. Bytes are of the heap after a collection. */
const measurement = z.object({
  bytesPerRun: z.number(),
  bytesPerReopenedRun: z.number(),
  bytesPerEntry: z.number(),
  openMs: z.number(),
  openEmptyMs: z.number(),
  rawReadMs: z.number(),
  profile: z.string(),
});

/** Runs that sleep for days: what a tenant pays for them meanwhile. Measured in a process whose heap is nobody else's. */
export const parkedPart: Part = { name: "parked", title: "10,000 parked runs", run: measureParked };

async function measureParked(size: Size): Promise<readonly Figure[]> {
  const runs = sizes[size];
  const script = join(import.meta.dirname, "parked-process.ts");
  const { stdout } = await promisify(execFile)(process.execPath, ["--expose-gc", script, String(runs)], {
    timeout: processWithinMs,
  });
  const found = measurement.parse(JSON.parse(stdout));
  const entry = { what: "an object {at, runId, agent} in an array", value: found.bytesPerEntry };
  const many = runs.toLocaleString("en-US");
  return [
    {
      what: "memory of a parked run, in the process that started it",
      value: found.bytesPerRun,
      unit: "bytes",
      floor: entry,
      aim: "a heap entry for its wake",
    },
    {
      what: "memory of a parked run, after opening the tenant",
      value: found.bytesPerReopenedRun,
      unit: "bytes",
      floor: entry,
      aim: "a heap entry for its wake",
    },
    {
      what: `opening a tenant with ${many} parked runs`,
      value: found.openMs,
      unit: "ms",
      floor: { what: "reading id, agent, status and wake of each, raw", value: found.rawReadMs },
      note: `an empty tenant opens in ${found.openEmptyMs.toFixed(1)} ms`,
      profile: found.profile,
    },
  ];
}
