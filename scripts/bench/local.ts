import * as z from "zod";
import { defineAgent } from "../../app/engine/agent.ts";
import type { Figure, Part, Size } from "./figure.ts";
import { profiled } from "./profile.ts";
import { rawRowsPerSecond } from "./raw-file.ts";
import { medianOfRounds } from "./rounds.ts";
import { withTenant, type OpenTenant } from "./tenant.ts";

const stepsPerRun = 10;
const runWithinMs = 60_000;
const sizes = {
  full: { rounds: 5, runs: 200, manyRuns: 1_024, warmUpRuns: 50, floorRows: 8_000 },
  tiny: { rounds: 1, runs: 3, manyRuns: 8, warmUpRuns: 1, floorRows: 32 },
} as const;

const payload = "x".repeat(200);
const tenSteps = defineAgent({ id: "ten-steps", input: z.object({}) }, async ({ step }) => {
  for (let i = 0; i < stepsPerRun; i += 1) await step.run(`s${i}`, () => payload);
  return null;
});

/** Runs of ten steps on one tenant's file, in this process. */
export const localPart: Part = {
  name: "local",
  title: "Steps a second at `local`: runs of 10 steps of 200 bytes, sealed, on one tenant",
  run: measureLocal,
};

async function measureLocal(size: Size): Promise<readonly Figure[]> {
  const { rounds, runs, manyRuns, warmUpRuns, floorRows } = sizes[size];
  // The first of all meets code that was never run: nobody's figure.
  await stepsPerSecond({ warmUpRuns: 0, runs: warmUpRuns, clients: 16 });
  const found = await medianOfRounds(rounds, {
    floor1: () => rawRowsPerSecond(floorRows, 1),
    one: () => stepsPerSecond({ warmUpRuns, runs, clients: 1 }),
    floor16: () => rawRowsPerSecond(floorRows, 16),
    sixteen: () => stepsPerSecond({ warmUpRuns, runs, clients: 16 }),
    many: () => stepsPerSecond({ warmUpRuns, runs: manyRuns, clients: 256 }),
  });
  const floorOne = { what: "raw rows, one a transaction", value: found.floor1 };
  const floor16 = { what: "raw rows, 16 a transaction", value: found.floor16 };
  const unit = "steps/s";
  const profileOf = (clients: number, count: number): Promise<string> =>
    underLoad({ warmUpRuns, runs: count, clients }, profiled);
  const [one, sixteen, many] = [
    await profileOf(1, runs * 2),
    await profileOf(16, runs * 4),
    await profileOf(256, manyRuns),
  ];
  return [
    { what: "1 run at a time", value: found.one, unit, floor: floorOne, aim: "≥ 0.35 ×", profile: one },
    {
      what: "16 at once",
      value: found.sixteen,
      unit,
      floor: floorOne,
      aim: "≥ 1, towards 1.5 ×",
      profile: sixteen,
    },
    { what: "16 at once, the other floor", value: found.sixteen, unit, floor: floor16 },
    { what: "256 at once", value: found.many, unit, floor: floorOne, profile: many },
    { what: "256 at once, the other floor", value: found.many, unit, floor: floor16 },
  ];
}

interface Load {
  readonly warmUpRuns: number;
  readonly runs: number;
  readonly clients: number;
}

async function stepsPerSecond(load: Load): Promise<number> {
  const seconds = await underLoad(load, async (work) => {
    const begunAt = performance.now();
    await work();
    return (performance.now() - begunAt) / 1_000;
  });
  return (load.runs * stepsPerRun) / seconds;
}

/** On a fresh file. Each client waits for its run's end before it starts another. */
function underLoad<Result>(
  { warmUpRuns, runs, clients }: Load,
  watch: (work: () => Promise<void>) => Promise<Result>,
): Promise<Result> {
  return withTenant([tenSteps], async (tenant) => {
    await runAll(tenant, warmUpRuns, clients);
    return await watch(() => runAll(tenant, runs, clients));
  });
}

async function runAll({ engine }: OpenTenant, runs: number, clients: number): Promise<void> {
  let begun = 0;
  const client = async (): Promise<void> => {
    while (begun < runs) {
      begun += 1;
      const { run } = await engine.start({ agent: tenSteps.id, input: {} });
      const { status } = await engine.ended(run.id, runWithinMs);
      if (status !== "completed") throw new Error(`Run ${run.id} of the bench is ${status}.`);
    }
  };
  await Promise.all(Array.from({ length: clients }, client));
}
