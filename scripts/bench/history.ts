import * as z from "zod";
import { defineAgent } from "../../app/engine/agent.ts";
import type { Figure, Part, Size } from "./figure.ts";
import { profiled } from "./profile.ts";
import { makeRawFile } from "./raw-file.ts";
import { medianOfRounds } from "./rounds.ts";
import { median } from "./statistics.ts";
import { makeTenantFile, openTenant, withTenant, type OpenTenant, type TenantFile } from "./tenant.ts";

const pageRows = 1_000;
const blocks = 20;
const sizes = {
  full: { rounds: 5, steps: 10_000, stretch: 1_000 },
  tiny: { rounds: 1, steps: 50, stretch: 10 },
} as const;

const payload = "x".repeat(200);
/** Told after each step, and when the step after the last one begins; the runs of this part are one after another. */
const watch = { stepDone: (): void => {}, nextBegan: (): void => {} };
const longRun = defineAgent(
  { id: "long-run", input: z.object({ steps: z.number() }) },
  async ({ input, step }) => {
    for (let i = 0; i < input.steps; i += 1) {
      await step.run(`s${i}`, () => payload);
      watch.stepDone();
    }
    // Never ends, so that the run is there to be resumed however often.
    await step.run("next", () => {
      watch.nextBegan();
      return new Promise<never>(() => {});
    });
  },
);

/** What a long history costs the steps that come after it, and the resume. */
export const historyPart: Part = {
  name: "history",
  title: "One run of 10,000 steps of 200 bytes at `local`",
  run: measureHistory,
};

async function measureHistory(size: Size): Promise<readonly Figure[]> {
  const { rounds, steps, stretch } = sizes[size];
  // The first of all meets code that was never run.
  await lastAgainstFirst(steps / 2, stretch);
  const growth = await medianOfRounds(rounds, {
    floor: () => rawLastAgainstFirst(steps, stretch),
    ours: () => lastAgainstFirst(steps, stretch),
  });
  const file = await makeTenantFile();
  try {
    const first = await openTenant(file, [longRun]);
    await reachEnd(first, steps);
    await first.close();
    await resumeMs(file);
    const resume = await medianOfRounds(rounds, {
      floor: () => rawReadMs(steps),
      ours: () => resumeMs(file),
    });
    const profile = await profiled(async () => {
      for (let i = 0; i < rounds; i += 1) await resumeMs(file);
    });
    return [
      {
        what: `the last ${count(stretch)} steps against the first`,
        value: growth.ours,
        unit: "× their cost",
        floor: { what: "the same of raw rows, one a transaction", value: growth.floor },
        aim: "≤ 1.1 × their cost",
        profile: await profiled(() => withTenant([longRun], (tenant) => reachEnd(tenant, steps))),
      },
      {
        what: `resume after ${count(steps)} steps, from opening the file to the next step`,
        value: resume.ours,
        unit: "ms",
        floor: { what: "reading the rows, raw", value: resume.floor },
        aim: "< 150 ms",
        profile,
      },
    ];
  } finally {
    await file.remove();
  }
}

function lastAgainstFirst(steps: number, stretch: number): Promise<number> {
  return withTenant([longRun], async (tenant) => {
    const stepMs: number[] = [];
    let last = performance.now();
    watch.stepDone = () => {
      const now = performance.now();
      stepMs.push(now - last);
      last = now;
    };
    await reachEnd(tenant, steps);
    watch.stepDone = () => {};
    return usualCost(stepMs.slice(-stretch)) / usualCost(stepMs.slice(0, stretch));
  });
}

/** Of a block of steps, the median of many: where a neighbour on the machine takes its turn, it spoils some of them. */
function usualCost(stepMs: readonly number[]): number {
  const blockSteps = Math.ceil(stepMs.length / blocks);
  const costs = Array.from({ length: Math.ceil(stepMs.length / blockSteps) }, (_, i) =>
    stepMs.slice(i * blockSteps, (i + 1) * blockSteps).reduce((sum, each) => sum + each, 0),
  );
  return median(costs);
}

/** Resolves when all steps but the one that never ends are done. */
async function reachEnd({ engine }: OpenTenant, steps: number): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  watch.nextBegan = resolve;
  await engine.start({ agent: longRun.id, input: { steps } });
  await promise;
}

async function resumeMs(file: TenantFile): Promise<number> {
  const { promise, resolve } = Promise.withResolvers<void>();
  watch.nextBegan = resolve;
  const begunAt = performance.now();
  const tenant = await openTenant(file, [longRun]);
  await promise;
  const tookMs = performance.now() - begunAt;
  await tenant.close();
  return tookMs;
}

async function rawLastAgainstFirst(rows: number, stretch: number): Promise<number> {
  const file = await makeRawFile();
  try {
    const seconds = file.insert(rows, 1);
    return usualCost(seconds.slice(-stretch)) / usualCost(seconds.slice(0, stretch));
  } finally {
    await file.remove();
  }
}

async function rawReadMs(rows: number): Promise<number> {
  const file = await makeRawFile();
  try {
    file.insert(rows, 10);
    const begunAt = performance.now();
    if (file.readHistory(pageRows) !== rows) throw new Error("The raw file does not hold what was written.");
    return performance.now() - begunAt;
  } finally {
    await file.remove();
  }
}

function count(number: number): string {
  return number.toLocaleString("en-US");
}
