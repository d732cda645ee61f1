import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { afterEach, beforeEach, expect, test } from "vitest";

import { drill, type DrillResult } from "../../scripts/demo/drill.ts";
import { brokenPromises } from "../../scripts/demo/ledger.ts";
import { resultTable } from "../../scripts/demo/report.ts";
import type { WorkerLife } from "../../scripts/demo/worker-life.ts";

let path: string;
const lives: WorkerLife[] = [];

beforeEach(async () => {
  path = await mkdtemp(join(tmpdir(), "holdfast-drill-"));
});

afterEach(async () => {
  await Promise.all(lives.splice(0).map((life) => life.process.stop(5_000)));
  await rm(path, { recursive: true, force: true });
});

function drillFake(environment: NodeJS.ProcessEnv): Promise<DrillResult> {
  const store = join(path, "store");
  return drill({
    script: "test/fakes/worker.ts",
    folder: { path, data: join(path, "data"), store: `file:${store}`, storeName: store },
    environment: { ...process.env, ...environment },
    tenant: "demo",
    stallMs: 3_000,
    tokenSecret: "a secret of a test, 32 bytes long or more",
    say: () => {},
    bar: () => ({ update: () => {}, end: () => {} }),
    onLife: (life) => lives.push(life),
  });
}

test("a run that goes on by itself, with all that was acknowledged, passes", async () => {
  const { run, history, ledger, opened } = await drillFake({});
  expect(run.status).toBe("completed");
  expect(history).toHaveLength(143);
  expect(new Set(history.map((row) => row.run)).size).toBe(21);
  expect(brokenPromises(ledger)).toEqual([]);
  expect(ledger).toMatchObject({ lost: [], repeated: [] });
  expect(ledger.acknowledgedSteps).toBeGreaterThanOrEqual(30);
  expect(resultTable(ledger, opened, 61)).toMatch(/Acknowledged writes lost +0$/m);
}, 60_000);

test("an acknowledged write that is lost fails the demo", async () => {
  const { ledger } = await drillFake({ FAKE_LOSES: "12" });
  expect(ledger.lost.length).toBeGreaterThan(0);
  expect(brokenPromises(ledger).join()).toMatch(
    /acknowledged writes were lost.*an acknowledged step ran again/,
  );
}, 60_000);

test("a run that waits for a client fails the demo", async () => {
  await expect(drillFake({ FAKE_SLEEPS: "1" })).rejects.toThrow("did not go on by itself");
}, 60_000);

test("a worker that cannot start fails the demo with the end of its log", async () => {
  await expect(
    drillFake({ HOLDFAST_TOKEN_SECRET: "x", NODE_OPTIONS: "--import=./missing.mjs" }),
  ).rejects.toThrow(/stopped with exit code 1[\s\S]*missing\.mjs/);
}, 60_000);
