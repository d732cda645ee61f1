import * as z from "zod";
import { defineAgent } from "../../app/engine/agent.ts";
import type { Figure, Part, Size } from "./figure.ts";
import { profiled } from "./profile.ts";
import { makeRawFile, rawRowsPerSecond } from "./raw-file.ts";
import { medianOfRounds } from "./rounds.ts";
import { median, percentile } from "./statistics.ts";
import { withTenant } from "./tenant.ts";

const runWithinMs = 60_000;
const sizes = {
  full: { rounds: 3, children: 1_000, starts: 300 },
  tiny: { rounds: 1, children: 5, starts: 5 },
} as const;

const payload = "x".repeat(200);
/** Told when a step begins. */
const watch = { stepBegan: (): void => {} };
const child = defineAgent({ id: "child", input: z.object({}) }, ({ step }) =>
  step.run("only", () => {
    watch.stepBegan();
    return payload;
  }),
);
const parent = defineAgent(
  { id: "parent", input: z.object({ children: z.number() }) },
  async ({ input, step }) => {
    const items = Array.from({ length: input.children }, (_, i) => i);
    await step.map("each", items, (_item, branch) => branch.step.invoke("child", child, {}));
    return null;
  },
);

/** Runs that start runs, and how soon a run begins. */
export const childrenPart: Part = {
  name: "children",
  title: "Children and starts at `local`",
  run: measureChildren,
};

async function measureChildren(size: Size): Promise<readonly Figure[]> {
  const { rounds, children, starts } = sizes[size];
  await childrenPerSecond(Math.ceil(children / 5));
  let rowsPerChild = 0;
  const found = await medianOfRounds(rounds, {
    floor: () => rawRowsPerSecond(children * 4, 16),
    ours: async () => {
      const run = await childrenPerSecond(children);
      rowsPerChild = run.rowsPerChild;
      return run.perSecond;
    },
  });
  await startLatenciesMs(starts);
  const latencies: number[] = [];
  const raw: number[] = [];
  for (let round = 0; round < rounds; round += 1) {
    raw.push(...(await rawCommitsMs(starts)));
    latencies.push(...(await startLatenciesMs(starts)));
  }
  return [
    {
      what: `${children.toLocaleString("en-US")} children of one parent (step.map, invoke), one step each`,
      value: found.ours,
      unit: "children/s",
      floor: { what: `their ${rowsPerChild} rows raw, 16 a transaction`, value: found.floor / rowsPerChild },
      profile: await profiled(() => childrenPerSecond(children)),
    },
    {
      what: "from the call of start to the first step (p50 / p99)",
      value: median(latencies),
      p99: percentile(latencies, 99),
      unit: "ms",
      floor: { what: "one raw row, one transaction", value: median(raw), p99: percentile(raw, 99) },
      aim: "p50 < 2 ms",
      profile: await profiled(() => startLatenciesMs(starts * 3)),
    },
  ];
}

/** `rowsPerChild` counts history and runs. */
function childrenPerSecond(
  children: number,
): Promise<{ readonly perSecond: number; readonly rowsPerChild: number }> {
  return withTenant([parent, child], async ({ engine, connection }) => {
    const begunAt = performance.now();
    const { run } = await engine.start({ agent: parent.id, input: { children } });
    const { status } = await engine.ended(run.id, runWithinMs);
    const seconds = (performance.now() - begunAt) / 1_000;
    if (status !== "completed") throw new Error(`The parent of the bench is ${status}.`);
    const sql = "SELECT (SELECT COUNT(*) FROM history) + (SELECT COUNT(*) FROM runs) AS count";
    const rows = await connection.read((on) => on.get<{ readonly count: number }>(sql));
    return { perSecond: children / seconds, rowsPerChild: Math.round((rows?.count ?? 0) / children) };
  });
}

/** One run after another. */
function startLatenciesMs(starts: number): Promise<readonly number[]> {
  return withTenant([child], async ({ engine }) => {
    const latenciesMs: number[] = [];
    for (let i = 0; i < starts; i += 1) {
      const begunAt = performance.now();
      watch.stepBegan = () => void latenciesMs.push(performance.now() - begunAt);
      const { run } = await engine.start({ agent: child.id, input: {} });
      await engine.ended(run.id, runWithinMs);
    }
    watch.stepBegan = () => {};
    return latenciesMs;
  });
}

async function rawCommitsMs(rows: number): Promise<readonly number[]> {
  const file = await makeRawFile();
  try {
    return file.insert(rows, 1).map((seconds) => seconds * 1_000);
  } finally {
    await file.remove();
  }
}
