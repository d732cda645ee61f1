import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";

import { expect, test } from "vitest";

import { describeProfile } from "../../scripts/bench/profile.ts";
import { medianOfRounds } from "../../scripts/bench/rounds.ts";
import { median, percentile } from "../../scripts/bench/statistics.ts";
import { dollarsOf } from "../../scripts/bench/store-price.ts";
import { figureTable } from "../../scripts/bench/table.ts";

const script = join(import.meta.dirname, "../../scripts/bench.ts");

/** Figures of so small a bench say nothing, and none is looked at. */
function bench(...flags: readonly string[]): Promise<{ readonly stdout: string }> {
  return promisify(execFile)(process.execPath, [script, "--tiny", ...flags], { timeout: 100_000 });
}

test.each([
  ["local", ["1 run at a time", "16 at once", "256 at once"]],
  ["history", ["steps against the first", "resume after 50 steps"]],
  ["children", ["children of one parent", "from the call of start to the first step"]],
  ["parked", ["memory of a parked run", "opening a tenant with 20 parked runs"]],
  ["hosts", ["memory of a parked tenant", "descriptors", "processor at rest", "first request of a parked"]],
  ["cold", ["to its first answer", "without a snapshot", "first durable write", "claims a day"]],
  ["replicated", ["request to 202", "request to completion", "store requests a run", "at S3 prices"]],
])(
  "the bench's part %s runs and prints each figure beside its floor",
  { timeout: 120_000 },
  async (name, figures) => {
    const { stdout } = await bench("--only", name);
    expect(stdout).toContain("| figure");
    for (const figure of figures) expect(stdout).toContain(figure);
    expect(stdout).not.toMatch(/NaN|Infinity|undefined/);
  },
);

test("a part that the bench does not have is refused with the names of those that it has", async () => {
  await expect(bench("--only", "lokal")).rejects.toMatchObject({
    code: 1,
    stderr: expect.stringMatching(/no part "lokal"[^]*local, history/),
  });
});

test("what the bench measures in turn is told by its median", async () => {
  const turns: string[] = [];
  const values = { floor: [5, 1, 3], ours: [10, 90, 20] };
  const next = (name: "floor" | "ours") => () => {
    turns.push(name);
    return values[name].shift() ?? 0;
  };
  expect(await medianOfRounds(3, { floor: next("floor"), ours: next("ours") })).toEqual({
    floor: 3,
    ours: 20,
  });
  expect(turns).toEqual(["floor", "ours", "floor", "ours", "floor", "ours"]);
});

test("half of all are at or below the median, and 99 of 100 at or below p99", () => {
  const values = Array.from({ length: 200 }, (_, i) => 200 - i);
  expect([median(values), percentile(values, 99), percentile([7], 99)]).toEqual([100, 198, 7]);
  expect(() => median([])).toThrow("nothing");
});

test("requests to the store are priced by their kind", () => {
  expect(dollarsOf({ put: 1_000, list: 1_000, get: 1_000, delete: 1_000 })).toBeCloseTo(0.0104, 10);
});

test("a figure stands in the table with its floor and how many times that it is", () => {
  const floor = { what: "raw rows", value: 50_000 };
  const table = figureTable([
    { what: "steps", value: 20_000, unit: "steps/s", floor, aim: "≥ 0.35 ×" },
    { what: "start", value: 1.5, p99: 12.345, unit: "ms", floor: null },
  ]);
  expect(table.split("\n").map((line) => line.replace(/ +/g, " "))).toEqual([
    "| figure | measured | floor | ratio | aim |",
    expect.stringMatching(/^\| -+ \|/),
    "| steps | 20,000 steps/s | 50,000 steps/s: raw rows | 0.4 × | ≥ 0.35 × |",
    "| start | 1.5 / 12.3 ms | – | – | – |",
  ]);
});

test("a profile gives a native function's time to whoever called it, and tells of the window only", () => {
  const frame = (functionName: string, url: string) => ({ functionName, url });
  const profile = {
    startTime: 1_000,
    nodes: [
      { id: 1, callFrame: frame("(root)", ""), children: [2, 4, 5] },
      { id: 2, callFrame: frame("run", "file:///x/node_modules/libsql/index.js"), children: [3] },
      { id: 3, callFrame: frame("native", "") },
      { id: 4, callFrame: frame("(idle)", "") },
      { id: 5, callFrame: frame("seal", "file:///x/app/storage/codec.ts") },
    ],
    samples: [5, 3, 2, 4, 5],
    timeDeltas: [100, 100, 200, 400, 100],
  };
  expect(describeProfile(profile, { fromUs: 1_150, toUs: 2_000 })).toBe(
    "50 % of the time busy; of that 75 % SQLite (libsql), 25 % app/storage/codec",
  );
});
