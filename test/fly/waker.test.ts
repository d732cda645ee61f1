import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { openStore } from "../../app/storage/open-store.ts";
import { dueWakes } from "../../app/storage/wakes.ts";
import { until } from "../support/litestream.ts";
import type { WorkerLife } from "../support/worker.ts";
import { FlyApp } from "./app.ts";
import type { FlyMachine } from "./machine.ts";

let app: FlyApp;
let machine: FlyMachine;
let url: string;
beforeEach(async () => {
  app = await FlyApp.open();
  const executions = join(app.place.folder, "executions.jsonl");
  machine = await app.create("fra", { DRILL_EXECUTIONS: executions });
  url = await app.proxy.listen("fra");
  executed = () => readFileSync(executions, "utf8");
});
afterEach(() => app.close());

let executed: () => string;

/** The waker as a process of its own, with nothing of Fly's but the app's secrets and its bucket. */
function startWaker(environment: Record<string, string> = {}): WorkerLife {
  const settings = { HOLDFAST_WAKE_URL: url, HOLDFAST_WAKE_EVERY: "1s", ...environment };
  return app.place.launch(settings, "scripts/waker.ts");
}

test("a run that slept when its Machine stopped goes on in time although nobody calls but the waker", async () => {
  const runId = await leaveAsleep();
  const calls = app.proxy.deliveries.length;

  const waker = startWaker();
  await machine.reaches("started");
  await machine.life.first("listening");
  await until("the run has gone on", () => executed().includes('"step":"after"'));
  await waker.first("woken");
  expect(new Set(app.proxy.deliveries.slice(calls).map(({ path }) => path))).toEqual(new Set(["/v1/wake"]));
  expect(machine.lives).toHaveLength(2);
  const ended = await (await app.client(url, "acme")).run(runId);
  expect(ended.body).toMatchObject({ status: "completed" });
  expect(await waker.stop()).toBe(0);
}, 240_000);

test("a waker outlives an app that does not answer, and calls again until it does", async () => {
  await leaveAsleep();
  const waker = startWaker({ HOLDFAST_WAKE_URL: machine.url });
  await until("it has failed twice", () => waker.events("wake.failed").length >= 2);
  await machine.start();
  expect(await waker.first("woken"), waker.describe()).toMatchObject({ due: 1, served: 1 });
  expect(await waker.stop()).toBe(0);
}, 240_000);

test("once, for a cron: 0 when nothing is due or the app was called, 1 when store or app did not answer", async () => {
  const once = async (environment: Record<string, string> = {}): Promise<number | null> => {
    const settings = { HOLDFAST_WAKE_URL: url, ...environment };
    const { code } = await app.place.launch(settings, "scripts/waker.ts", ["--once"]).exited;
    return code;
  };
  expect(await once()).toBe(0);
  expect(app.proxy.deliveries).toEqual([]);
  const noStore = "s3://holdfast-test/fly?endpoint=http://127.0.0.1:1&region=us-east-1";
  expect(await once({ HOLDFAST_STORE: noStore })).toBe(1);
  await leaveAsleep();
  expect(await once({ HOLDFAST_WAKE_URL: "http://127.0.0.1:1" })).toBe(1);
  expect(await once()).toBe(0);
  expect(machine.state).toBe("started");
}, 240_000);

/** A run that sleeps on a Machine that was stopped, and whose wake is due. */
async function leaveAsleep(): Promise<string> {
  await machine.start();
  const client = await app.client(url, "acme");
  const input = { token: "t", ms: 1, napMs: 3_000 };
  const started = await client.start("nap", input, { key: "nap" });
  expect(started.status, machine.life.describe()).toBe(202);
  const { id } = started.body;
  await until("the run sleeps", async () => (await client.run(id)).body.status === "sleeping");
  await machine.stop();
  expect(await machine.life.exited).toMatchObject({ code: 0 });
  // A wake is due when its minute has begun, which may be the next one.
  const { credentials } = app.store;
  const store = openStore(app.store.storeUrl("fly"), { credentials, baseDir: "/" });
  await until("its wake is due", async () => (await dueWakes(store, Date.now())).length > 0);
  return id;
}
