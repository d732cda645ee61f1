/** Started by parked.ts with --expose-gc: makes as many runs as its argument says, parks them, and prints what they cost. */
import { setTimeout as sleep } from "node:timers/promises";
import Database from "libsql";
import { uuidv7 } from "uuidv7";
import * as z from "zod";
import { defineAgent } from "../../app/engine/agent.ts";
import { profiled } from "./profile.ts";
import { medianOfRounds } from "./rounds.ts";
import { makeTenantFile, openTenant, type TenantFile } from "./tenant.ts";

const rounds = 5;
const startsAtOnce = 250;
/** The engine lets a run that only waits go after 5 s. */
const parkedAfterMs = 6_500;
const runWithinMs = 60_000;

const sleeper = defineAgent({ id: "sleeper", input: z.object({}) }, async ({ step }) => {
  await step.run("before", () => "x".repeat(200));
  await step.sleep("for days", "30 days");
});
const runs = Number(process.argv[2]);
const file = await makeTenantFile();
const empty = await makeTenantFile();
try {
  const bytesPerEntry = bytesOfEntries();
  const bytesPerRun = await startAndPark();
  const bytesPerReopenedRun = await bytesAfterReopening();
  const opening = await medianOfRounds(rounds, {
    rawReadMs: () => readRawMs(),
    openMs: () => openMs(file),
    openEmptyMs: () => openMs(empty),
  });
  const profile = await profiled(async () => {
    for (let i = 0; i < rounds; i += 1) await openMs(file);
  });
  console.log(JSON.stringify({ bytesPerEntry, bytesPerRun, bytesPerReopenedRun, ...opening, profile }));
} finally {
  await file.remove();
  await empty.remove();
}
process.exit(0);

async function startAndPark(): Promise<number> {
  const tenant = await openTenant(file, [sleeper]);
  const { engine, connection } = tenant;
  // Some of what the first runs leave behind is of the code, not of them.
  const start = async (): Promise<void> => void (await engine.start({ agent: sleeper.id, input: {} }));
  await start();
  const before = await heapBytes();
  for (let begun = 0; begun < runs; begun += startsAtOnce)
    await Promise.all(Array.from({ length: Math.min(startsAtOnce, runs - begun) }, start));
  const deadline = performance.now() + runWithinMs;
  const sql = "SELECT COUNT(*) AS n FROM runs WHERE status = 'sleeping'";
  while ((await connection.read((on) => on.get<{ n: number }>(sql)))?.n !== runs + 1) {
    if (performance.now() > deadline) throw new Error("Not all runs of the bench went to sleep.");
    await sleep(50);
  }
  await sleep(parkedAfterMs);
  const bytes = ((await heapBytes()) - before) / runs;
  await tenant.close();
  return bytes;
}

async function bytesAfterReopening(): Promise<number> {
  const before = await heapBytes();
  const tenant = await openTenant(file, [sleeper]);
  const bytes = ((await heapBytes()) - before) / runs;
  await tenant.close();
  return bytes;
}

async function openMs(which: TenantFile): Promise<number> {
  const begunAt = performance.now();
  const tenant = await openTenant(which, [sleeper]);
  const tookMs = performance.now() - begunAt;
  await tenant.close();
  return tookMs;
}

function readRawMs(): number {
  const begunAt = performance.now();
  const database = new Database(file.path);
  database.prepare("SELECT id, agent, status, wake_at FROM runs WHERE status = 'sleeping'").all();
  const tookMs = performance.now() - begunAt;
  database.close();
  return tookMs;
}

/** What the floor is made of. */
function bytesOfEntries(): number {
  collect();
  const before = process.memoryUsage().heapUsed;
  const entries = Array.from({ length: runs }, () => ({
    at: Date.now() + Math.random(),
    runId: uuidv7(),
    agent: "sleeper",
  }));
  collect();
  const bytes = (process.memoryUsage().heapUsed - before) / runs;
  if (entries.length !== runs) throw new Error("The entries were collected.");
  return bytes;
}

/** When nothing is under way any more and the garbage is gone. */
async function heapBytes(): Promise<number> {
  for (let i = 0; i < 3; i += 1) {
    await sleep(20);
    collect();
  }
  return process.memoryUsage().heapUsed;
}

function collect(): void {
  if (globalThis.gc === undefined) throw new Error("This is started with --expose-gc.");
  globalThis.gc();
}
