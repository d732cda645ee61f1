import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { until } from "../support/litestream.ts";
import type { WorkerClient } from "../support/worker-client.ts";
import { FlyApp } from "./app.ts";
import type { FlyMachine } from "./machine.ts";

let app: FlyApp;
afterEach(() => app.close());

/** As in fly.toml, with times that a test can wait for. */
async function openApp(environment: Record<string, string>): Promise<{ readonly url: string }> {
  app = await FlyApp.open({ HOLDFAST_IDLE: "500ms", HOLDFAST_HOST_TTL: "3s", ...environment });
  return { url: await app.proxy.listen("fra") };
}

function createMachine(): Promise<FlyMachine> {
  return app.create("fra", { DRILL_EXECUTIONS: join(app.place.folder, "executions.jsonl") });
}

function executed(): string {
  return readFileSync(join(app.place.folder, "executions.jsonl"), "utf8");
}

function wentOn(): boolean {
  return executed().includes('"step":"after"');
}

async function hasEnded(client: WorkerClient, runId: string): Promise<boolean> {
  return (await client.run(runId)).body.status === "completed";
}

async function startNap(client: WorkerClient, napMs: number): Promise<string> {
  const started = await client.start("nap", { token: "t", ms: 1, napMs }, { key: "nap" });
  expect(started.status).toBe(202);
  await until("the run sleeps", async () => (await client.run(started.body.id)).body.status === "sleeping");
  return started.body.id;
}

function startWaker(url: string): void {
  const settings = { HOLDFAST_WAKE_URL: url, HOLDFAST_WAKE_EVERY: "1s" };
  app.place.launch(settings, "scripts/waker.ts");
}

test("a run that sleeps while every host ends by itself, idle, is woken by the waker and ends", async () => {
  const { url } = await openApp({ HOLDFAST_EXIT_IDLE: "2s" });
  const machine = await createMachine();
  await machine.start();
  const client = await app.client(url, "acme");
  // A wake is due from the start of its minute: one that is as near as that would keep the host.
  const started = await client.start("nap", { token: "t", ms: 1, napMs: 1 }, { key: "nap", delay: 75_000 });
  expect(started.status).toBe(202);
  const calls = app.proxy.deliveries.length;
  expect(await machine.life.exited, machine.life.describe()).toMatchObject({ code: 0 });
  expect(executed()).not.toContain("before");

  startWaker(url);
  await until("the run has gone on", wentOn, 120_000);
  expect(new Set(app.proxy.deliveries.slice(calls).map(({ path }) => path))).toEqual(new Set(["/v1/wake"]));
  await until("the run has ended", () => hasEnded(client, started.body.id));
}, 240_000);

test("a run whose only host was killed with its disk goes on at another one, called by nobody but the waker", async () => {
  const { url } = await openApp({});
  const [lost, other] = [await createMachine(), await createMachine()];
  await other.start();
  await other.life.first("listening");
  await other.stop();
  await lost.start();
  const client = await app.client(url, "acme");
  const runId = await startNap(client, 5_000);
  const calls = app.proxy.deliveries.length;
  await lost.destroy();

  startWaker(url);
  await until("the run has gone on", wentOn);
  expect(new Set(app.proxy.deliveries.slice(calls).map(({ path }) => path))).toEqual(new Set(["/v1/wake"]));
  await until("the run has ended", () => hasEnded(client, runId));
}, 240_000);
