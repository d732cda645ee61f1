import type { Figure } from "./figure.ts";
import { median, percentile } from "./statistics.ts";
import { dollarsOf } from "./store-price.ts";
import type { RequestCounts } from "./store-proxy.ts";

const stepsPerRun = 3;
/** The start, and each step's result, must be durable before what follows: no run alone can do with fewer. */
const roundsPerRun = stepsPerRun + 1;

/** What a number of clients has met in all rounds. */
export interface Seen {
  readonly clients: number;
  readonly acknowledgedMs: number[];
  readonly completedMs: number[];
  readonly runsPerSecond: number[];
  readonly counts: RequestCounts[];
  runs: number;
  shares: string;
}

export function nothingSeen(clients: number): Seen {
  return { clients, acknowledgedMs: [], completedMs: [], runsPerSecond: [], counts: [], runs: 0, shares: "" };
}

/** `name` says which way to the store it was; `pairMs` are what a PUT with a GET took on it. */
export function figuresOf(
  name: string,
  seen: Seen,
  { pairMs, profile }: { readonly pairMs: readonly number[]; readonly profile: string },
): readonly Figure[] {
  const pair = { value: median(pairMs), p99: percentile(pairMs, 99) };
  const chain = { value: pair.value * roundsPerRun };
  const who = `${name}, ${seen.clients} at once`;
  const runsPerSecond = median(seen.runsPerSecond);
  const stepsPerSecond = (each: number): number => each * stepsPerRun;
  return [
    {
      what: `${who}: request to 202 (p50 / p99)`,
      value: median(seen.acknowledgedMs),
      p99: percentile(seen.acknowledgedMs, 99),
      unit: "ms",
      floor: { what: "a PUT, then a GET", ...pair },
    },
    {
      what: `${who}: request to completion (p50 / p99)`,
      value: median(seen.completedMs),
      p99: percentile(seen.completedMs, 99),
      unit: "ms",
      floor: { what: `that ${roundsPerRun} times`, ...chain },
    },
    {
      what: `${who}: throughput`,
      value: stepsPerSecond(runsPerSecond),
      unit: "steps/s",
      floor: {
        what: "as many clients, each at that pace",
        value: stepsPerSecond((seen.clients * 1_000) / chain.value),
      },
      ...(name === "versitygw" && seen.clients === 16 ? { aim: "> 1,600 steps/s" } : {}),
      note: `${runsPerSecond.toFixed(runsPerSecond < 10 ? 1 : 0)} runs/s; ${seen.shares}`,
      profile: `the worker: ${profile}`,
    },
    ...costsOf(who, seen),
  ];
}

/** Of the store, heartbeats and Litestream's own look-ups included. */
function costsOf(who: string, { counts, runs }: Seen): readonly Figure[] {
  if (counts.length === 0) return [];
  const sum = (of: (each: RequestCounts) => number): number =>
    counts.reduce((total, each) => total + of(each), 0) / runs;
  const [put, get, list] = [sum((each) => each.put), sum((each) => each.get), sum((each) => each.list)];
  return [
    {
      what: `${who}: store requests a run`,
      value: put + get + list,
      unit: "requests",
      floor: { what: "a PUT and a GET each time, shared with nobody", value: roundsPerRun * 2 },
      note: `${put.toFixed(2)} PUT, ${get.toFixed(2)} GET, ${list.toFixed(2)} LIST a run`,
    },
    {
      what: `${who}: requests for 1,000 runs at S3 prices`,
      value: dollarsOf({ put, get, list, delete: 0 }) * 1_000,
      unit: "dollars",
      floor: {
        what: "the same",
        value: dollarsOf({ put: roundsPerRun, get: roundsPerRun, list: 0, delete: 0 }) * 1_000,
      },
    },
  ];
}
