import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { WorkerHost } from "../../app/host/worker-host.ts";
import { until } from "../support/litestream.ts";
import { agentOf, HostWorkspace } from "../support/host.ts";
import { wakeKey, withoutNonce } from "../support/wakes.ts";

const ttlMs = 1_000;

let workspace: HostWorkspace;
beforeEach(async () => {
  workspace = await HostWorkspace.open();
});
afterEach(() => workspace.close());

const agents = [agentOf("sleeper", ({ step }) => step.sleep("long", "1h"))];

/** A host on a Machine and a disk of its own, that has looked at the wakes once. */
async function hostOn(machine: string, idleMs: number): Promise<WorkerHost> {
  const host = await workspace.hostOn({ machine, ttlMs }, { agents, idleMs, releaseMs: 600_000 });
  await host.wakeDue();
  return host;
}

async function startSleeper(host: WorkerHost): Promise<string> {
  return await host.use("acme", async (tenant) => {
    const { run } = await tenant.runs.start({ agent: "sleeper", input: null });
    await tenant.durable();
    return run.id;
  });
}

/** The wake of a run that began to sleep just now. */
function inAnHour(): unknown {
  const key = (at: number): string => wakeKey("acme", at + 3_600_000);
  const now = Date.now();
  return [expect.toBeOneOf([key(now), key(now - 60_000)])];
}

function wakes(): Promise<readonly string[]> {
  return workspace.store.list("wakes/");
}

/** Ends the run by a request, as soon as this host may have its tenant. */
async function cancelAt(host: WorkerHost, run: string, before: WorkerHost): Promise<void> {
  const cancelled = host.use("acme", async (tenant) => {
    await tenant.runs.cancel(run);
    await tenant.durable();
  });
  await cancelled.catch(async () => {
    await sleep(50);
    host.noteUnreachable(before.id, "silent");
    await cancelAt(host, run, before);
  });
}

const idleMs = 300;

test("of a run that a dead host had parked until later no wake is left when it has ended at another host", async () => {
  const [far, here] = [await hostOn("far", idleMs), await hostOn("here", idleMs)];
  const run = await startSleeper(far);
  await until("it is parked", () => far.parkedTenants() === 1);
  expect((await wakes()).map(withoutNonce)).toEqual(inAnHour());
  await workspace.kill(far);
  await cancelAt(here, run, far);
  await until("it is parked here", () => here.parkedTenants() === 1);
  expect(await wakes()).toEqual([]);
});

test("of a run that a dead host had in memory no wake is left when it has ended at another host", async () => {
  const [far, here] = [await hostOn("far", 600_000), await hostOn("here", idleMs)];
  const run = await startSleeper(far);
  await workspace.kill(far);
  await cancelAt(here, run, far);
  await until("it is parked here", () => here.parkedTenants() === 1);
  expect(await wakes()).toEqual([]);
});

test("of a run whose tenant was given away no wake is left when it has ended at another host", async () => {
  const [far, here] = [await hostOn("far", idleMs), await hostOn("here", idleMs)];
  const run = await startSleeper(far);
  await far.drain();
  expect((await wakes()).map(withoutNonce)).toEqual(inAnHour());
  await cancelAt(here, run, far);
  await until("it is parked here", () => here.parkedTenants() === 1);
  expect(await wakes()).toEqual([]);
});

test("a tenant without unfinished work that was given away is opened without a look at the wakes", async () => {
  const [far, here] = [await hostOn("far", idleMs), await hostOn("here", 600_000)];
  await far.use("acme", (tenant) => tenant.durable());
  await far.drain();
  const lists = workspace.store.count("list", "wakes/");
  await here.use("acme", (tenant) => tenant.durable());
  expect(workspace.store.count("list", "wakes/")).toBe(lists);
});
