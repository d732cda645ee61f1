import { afterEach, beforeEach, expect, test } from "vitest";
import { startVersityGw, type VersityGw } from "../support/versitygw.ts";
import { storeEnvironment, WorkerPlace } from "../support/worker.ts";
import { runDrill, type DrillReport, type Round } from "./drill/drill.ts";
import type { Violation } from "./drill/ledger.ts";
import { seed } from "./drill/seed.ts";

const rounds = Number(process.env["DRILL_ROUNDS"] ?? 20);

let store: VersityGw;
let place: WorkerPlace;
beforeEach(async () => {
  store = await startVersityGw();
  place = await WorkerPlace.open(storeEnvironment(store, "drill"));
});
afterEach(async () => {
  await place.close();
  await store.stop();
});

test(
  "everything that was acknowledged survives SIGKILL at a random moment and a wiped disk, and goes on unasked",
  async () => {
    const report = await runDrill({
      place,
      script: "app/main.ts",
      rounds,
      seed,
      loadMs: { min: 100, max: 1_200 },
      shortLives: true,
    });
    show(report);
    // The first ones tell enough.
    expect(report.violations.slice(0, 5), replay(report)).toEqual([]);
    expect(report.rounds).toHaveLength(rounds);
    const sum = totals(report);
    expect(sum.acknowledgedRuns).toBeGreaterThan(rounds);
    expect(sum.acknowledgedSignals).toBeGreaterThan(0);
    // Otherwise the kills hit nothing, and the drill proves nothing.
    expect(sum.inFlight).toBeGreaterThan(0);
    expect(sum.lostCommits).toBeGreaterThan(0);
  },
  120_000 + rounds * 30_000,
);

test("the same drill finds lost writes behind a gate that resolves at once", async () => {
  const report = await runDrill({
    place,
    script: "test/crash/ungated-worker.ts",
    rounds: 5,
    seed,
    // Longer than the second in which Litestream ships by itself, and no epoch shorter than that: a tenant of whose newest
    // epoch nothing was shipped is an error as a whole, and shows no single write as lost.
    loadMs: { min: 1_500, max: 2_500 },
    shortLives: false,
    endsAt: isLoss,
  });
  show(report);
  const lost = report.violations.filter(isLoss);
  expect(lost.length, replay(report)).toBeGreaterThan(0);
}, 240_000);

function isLoss({ kind }: Violation): boolean {
  return kind.startsWith("lost-");
}

function replay({ rounds: done }: DrillReport): string {
  return `play the round again by DRILL_SEED=${seed + Math.max(0, done.length - 1)} DRILL_ROUNDS=1`;
}

function totals({ rounds: done }: DrillReport) {
  const sum = (read: (round: Round) => number): number =>
    done.reduce((total, round) => total + read(round), 0);
  return {
    acknowledgedRuns: sum(({ acknowledgedRuns }) => acknowledgedRuns),
    acknowledgedSignals: sum(({ acknowledgedSignals }) => acknowledgedSignals),
    shownRows: sum(({ shownRows }) => shownRows),
    refused: sum(({ refused }) => refused),
    inFlight: sum(({ inFlight }) => inFlight),
    repeated: sum(({ repeated }) => repeated),
    lostCommits: sum(({ lostCommits }) => lostCommits),
    meanRoundMs: Math.round(sum(({ ms }) => ms) / done.length),
  };
}

function show(report: DrillReport): void {
  const kinds = Object.entries(Object.groupBy(report.violations, ({ kind }) => kind));
  const violations = Object.fromEntries(kinds.map(([kind, some]) => [kind, some.length]));
  console.info(JSON.stringify({ seed, rounds: report.rounds.length, ...totals(report), violations }));
}
