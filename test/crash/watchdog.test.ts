import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { WorkerExit } from "../../scripts/dev/worker-process.ts";
import { openStore } from "../../app/storage/open-store.ts";
import type { ObjectStore } from "../../app/storage/object-store.ts";
import { until } from "../support/litestream.ts";
import { startVersityGw, type VersityGw } from "../support/versitygw.ts";
import { storeEnvironment, WorkerPlace, type WorkerLife } from "../support/worker.ts";

const impatient = "test/crash/impatient-worker.ts";
const secret = "the-secret-of-acme";

let folder: string;
let server: VersityGw;
let store: ObjectStore;
let place: WorkerPlace;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "holdfast-watchdog-"));
  server = await startVersityGw({ folder });
  const settings = { baseDir: folder, credentials: server.credentials };
  store = openStore(server.storeUrl("watchdog"), settings);
  place = await WorkerPlace.open(storeEnvironment(server, "watchdog"));
});
afterEach(async () => {
  await place.close();
  await server.stop();
  await rm(folder, { recursive: true, force: true });
});

test("a run that never yields is paused after it has ended three hosts, and the tenant's other run completes", async () => {
  const { runId, napId } = await threeLives({
    script: impatient,
    how: "loop",
    exit: { code: null, signal: "SIGKILL" },
    event: "standstill",
  });
  const life = await place.start({}, impatient);
  await pausedAndTheOtherCompletes(life, {
    runId,
    napId,
    said: /held the event loop at spin \(hold\.ts:\d+:\d+\)/,
  });

  // Three more lives: it ends this one, and is taken up by the next.
  await resume(life, runId);
  expect(await life.exited, life.describe()).toEqual({ code: null, signal: "SIGKILL" });
  const next = await place.start({}, impatient);
  expect(await next.exited, next.describe()).toEqual({ code: null, signal: "SIGKILL" });
  expect(next.events("run.quarantined")).toEqual([]);
}, 180_000);

test("a run that throws where nobody catches is paused after it has ended three hosts, and the other run completes", async () => {
  const { runId, napId } = await threeLives({
    script: "app/main.ts",
    how: "throw",
    exit: { code: 1, signal: null },
    event: "uncaught",
  });
  const life = await place.start();
  expect(await life.first("run.quarantined")).toMatchObject({ run: runId });
  const said = /nobody caught its exception \(RangeError\) thrown at \S+ \(hold\.ts:\d+:\d+\)/;
  await pausedAndTheOtherCompletes(life, { runId, napId, said });
}, 180_000);

test.each(["promises", "wait"])(
  "a run that holds the event loop by %s is named too",
  async (how) => {
    const life = await place.start({}, impatient);
    const client = await life.client("acme");
    const started = await client.start("hold", { how, secret });
    expect(await life.exited, life.describe()).toEqual({ code: null, signal: "SIGKILL" });
    const [line] = life.events("standstill");
    expect(line, life.describe()).toMatchObject({ tenant: "acme", run: started.body.id, agent: "hold" });
  },
  60_000,
);

test("a worker that was stopped for longer than its watchdog allows goes on", async () => {
  const life = await place.start({}, impatient);
  process.kill(life.pid, "SIGSTOP");
  await sleep(6_000);
  process.kill(life.pid, "SIGCONT");
  const client = await life.client("acme");
  const answer = await client.start("chain", { token: "t", steps: 3, ms: 500 }, { wait: "20s" });
  expect(answer).toMatchObject({ status: 200, body: { status: "completed" } });
  expect(life.events("standstill")).toEqual([]);
  expect(await life.stop(), life.describe()).toBe(0);
}, 60_000);

/** Three hosts that one run ends, each of which leaves a note of it. Between the second and the third the disk is lost. */
async function threeLives(ending: {
  readonly script: string;
  readonly how: "loop" | "throw";
  readonly exit: WorkerExit;
  readonly event: string;
}): Promise<{ readonly runId: string; readonly napId: string }> {
  let life = await place.start({}, ending.script);
  const client = await life.client("acme");
  const nap = await client.start("nap", { token: "nap", ms: 1, napMs: 2_000 });
  const held = await client.start("hold", { how: ending.how, secret });
  expect([nap.status, held.status]).toEqual([202, 202]);
  const runId = held.body.id;
  for (let ended = 1; ended <= 3; ended += 1) {
    if (ended > 1) life = await place.start({}, ending.script);
    expect(await life.exited, life.describe()).toEqual(ending.exit);
    const [line] = life.events(ending.event);
    expect(line, life.describe()).toMatchObject({ tenant: "acme", run: runId, agent: "hold" });
    const notes = await store.list(`crashes/acme/${runId}/`);
    expect(notes).toHaveLength(ended);
    for (const note of notes) expect(String((await store.get(note))?.body)).not.toContain(secret);
    if (ended === 2) await place.wipe();
  }
  return { runId, napId: nap.body.id };
}

async function pausedAndTheOtherCompletes(
  life: WorkerLife,
  { runId, napId, said }: { readonly runId: string; readonly napId: string; readonly said: RegExp },
): Promise<void> {
  const told = await life.first("run.quarantined");
  expect(told).toMatchObject({ tenant: "acme", run: runId, agent: "hold" });
  const client = await life.client("acme");
  const { body } = await client.run(runId);
  expect(body).toMatchObject({ status: "paused", error: { name: "CrashLoopError" } });
  expect(body.error?.message).toContain("brought its host down 3 times without progress");
  expect(body.error?.message).toMatch(said);
  const { items } = (await client.history(runId)).body;
  expect(items.at(-1)).toMatchObject({ kind: "run.paused", data: { reason: "crash_loop" } });
  await until(
    "the other run has completed",
    async () => (await client.run(napId)).body.status === "completed",
  );
  await until("the notes are gone", async () => (await store.list("crashes/")).length === 0);
}

async function resume(life: WorkerLife, runId: string): Promise<void> {
  const client = await life.client("acme");
  // The run may hold the loop before this is answered.
  await client.control(runId, "resume").catch(() => {});
}
