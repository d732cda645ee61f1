import { existsSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { WorkerHost } from "../../app/host/worker-host.ts";
import { epochFile } from "../../app/storage/data-folder.ts";
import { until } from "../support/litestream.ts";
import { acknowledge, agentOf, hosted, HostWorkspace } from "../support/host.ts";
import { readFacts } from "../support/storage.ts";

let workspace: HostWorkspace;

beforeEach(async () => {
  workspace = await HostWorkspace.open();
});

afterEach(() => workspace.close());

/** Parks what is idle, and keeps it. */
const parking = { idleMs: 60, releaseMs: 600_000 };

async function holder(tenantId: string): Promise<string | null> {
  return (await workspace.tenants.stores.tenantRecord(tenantId)).host;
}

async function parked(host: WorkerHost, tenants = 1): Promise<void> {
  await until(`${tenants} are parked`, () => host.parkedTenants() === tenants);
}

function readBy(host: WorkerHost, tenantId: string): Promise<readonly unknown[]> {
  return host.use(tenantId, async (tenant) => {
    const facts = await readFacts(hosted(tenant).file);
    await tenant.durable();
    return [hosted(tenant).file.epoch, ...facts];
  });
}

test("an idle tenant is parked: it stays this host's, Litestream lets go, and it goes on in its epoch", async () => {
  const host = await workspace.host(parking);
  await acknowledge(host, "acme", "a");
  await parked(host);
  expect([host.openTenants(), await workspace.tenants.litestream.control.list()]).toEqual([[], []]);
  expect(await holder("acme")).toBe(host.id);
  const puts = workspace.store.count("put", "tenants/acme/tenant.json");
  await acknowledge(host, "acme", "b");
  expect(await readBy(host, "acme")).toEqual([1, "a", "b"]);
  expect(workspace.store.count("put", "tenants/acme/tenant.json")).toBe(puts);
  await workspace.kill(host);
  await workspace.wipe();
  expect(await readBy(await workspace.host(), "acme")).toEqual([2, "a", "b"]);
});

test("a use that comes while a tenant is being parked waits, and has it in the same epoch", async () => {
  const agents = [agentOf("sleeper", ({ step }) => step.sleep("long", "1h"))];
  const host = await workspace.host({ ...parking, agents });
  await host.use("acme", async (tenant) => {
    await tenant.runs.start({ agent: "sleeper", input: null });
    await tenant.durable();
  });
  const wake = workspace.store.hold("put", "wakes/");
  await wake.arrived;
  const reading = Promise.all([readBy(host, "acme"), readBy(host, "acme")]);
  await sleep(50);
  wake.letThrough();
  expect(await reading).toEqual([[1], [1]]);
});

test("a run that sleeps goes on at its time although its tenant was parked, and its wake goes with it", async () => {
  const agents = [agentOf("sleeper", ({ step }) => step.sleep("some", 1_500))];
  const host = await workspace.host({ ...parking, agents });
  const id = await host.use("acme", async (tenant) => {
    const { run } = await tenant.runs.start({ agent: "sleeper", input: null });
    await tenant.durable();
    return run.id;
  });
  await parked(host);
  await until("the run has ended and the tenant is parked again", async () => {
    const wakes = await workspace.store.list("wakes/");
    return wakes.length === 0 && host.parkedTenants() === 1;
  });
  expect(await host.use("acme", ({ runs }) => runs.get(id))).toMatchObject({ status: "completed" });
  expect(await readBy(host, "acme")).toEqual([1]);
});

test("a parked tenant whose file is not as it was goes on in a new epoch, with all that was acknowledged", async () => {
  const host = await workspace.host(parking);
  await acknowledge(host, "acme", "a");
  await parked(host);
  await rm(epochFile(workspace.tenants.dataFolder, "acme", 1));
  expect(await readBy(host, "acme")).toEqual([2, "a"]);
});

test("while the store is down an idle tenant is not parked, and needs no new epoch afterwards", async () => {
  const host = await workspace.host(parking);
  await acknowledge(host, "acme", "a");
  workspace.store.down = true;
  await sleep(600);
  expect(host.openTenants()).toHaveLength(1);
  workspace.store.down = false;
  expect(await readBy(host, "acme")).toEqual([1, "a"]);
  await parked(host);
});

test("a parked tenant that nobody has used for long is given away", async () => {
  const host = await workspace.host({ idleMs: 60, releaseMs: 700 });
  await acknowledge(host, "acme", "a");
  await parked(host);
  expect(await holder("acme")).toBe(host.id);
  await until("it is given away", async () => (await holder("acme")) === null);
  expect(await readBy(host, "acme")).toEqual([2, "a"]);
});

test("a release that is not known to have come about ends the epoch, and the next use goes on", async () => {
  const host = await workspace.host({ idleMs: 60, releaseMs: 300 });
  await acknowledge(host, "acme", "a");
  await parked(host);
  workspace.store.fail("put", "tenants/acme/", "late");
  await parked(host, 0);
  await workspace.store.deliverLate();
  expect(await readBy(host, "acme")).toEqual([2, "a"]);
});

test("a drain gives every parked tenant away", async () => {
  const host = await workspace.host(parking);
  const names = Array.from({ length: 40 }, (_, index) => `tenant-${index}`);
  await Promise.all(names.map((name) => acknowledge(host, name, "a")));
  await parked(host, names.length);
  await host.drain();
  expect(new Set(await Promise.all(names.map(holder)))).toEqual(new Set([null]));
});

test("where more tenants are wanted than may be open, those that nobody has used for longest are parked", async () => {
  const host = await workspace.host({ maxOpen: 2, releaseMs: 600_000 });
  for (const name of ["old", "older"]) await acknowledge(host, name, "a");
  await acknowledge(host, "old", "b");
  await acknowledge(host, "new", "a");
  expect(new Set(host.openTenants().map(({ id }) => id))).toEqual(new Set(["old", "new"]));
  expect(await readBy(host, "older")).toEqual([1, "a"]);
});

test("a tenant that is used is not parked for another one, which waits until there is room", async () => {
  const host = await workspace.host({ maxOpen: 1, releaseMs: 600_000 });
  const finish = Promise.withResolvers<void>();
  const using = host.use("busy", () => finish.promise);
  await until("it is open", () => host.openTenants().length === 1);
  let opened = false;
  const waiting = acknowledge(host, "next", "a").then(() => (opened = true));
  await sleep(300);
  expect([opened, host.waitingOpenings()]).toEqual([false, 1]);
  finish.resolve();
  await Promise.all([using, waiting]);
  expect(host.openTenants().map(({ id }) => id)).toEqual(["next"]);
});

test("over the disk's bound the files of released tenants go first, then parked ones, and none that is not in the store", async () => {
  const first = await workspace.host();
  for (const name of ["released", "released-later"]) await acknowledge(first, name, "a");
  await first.drain();
  const evicting = await workspace.host({ ...parking, idleMs: 300, maxDiskBytes: 1 });
  await until("released files are gone", () => evicting.evictions() === 2);
  const local = (name: string) => existsSync(join(workspace.tenants.dataFolder, name));
  expect(["released", "released-later"].map(local)).toEqual([false, false]);
  await acknowledge(evicting, "acme", "b");
  expect(local("acme")).toBe(true);
  await until("the parked one is gone", () => !local("acme"));
  expect(await holder("acme")).toBe(null);
  for (const name of ["acme", "released"])
    expect(await readBy(evicting, name)).toEqual([2, name === "acme" ? "b" : "a"]);
});

test("what a killed host had parked goes too in its next life when the disk is full, and is in the store", async () => {
  const first = await workspace.host(parking);
  for (const name of ["acme", "other"]) await acknowledge(first, name, "a");
  await parked(first, 2);
  await workspace.kill(first);
  const next = await workspace.host({ ...parking, maxDiskBytes: 1 });
  await until("their files are gone", () => next.evictions() === 2);
  expect(await readBy(next, "acme")).toEqual([2, "a"]);
});

test("after a jump of its clock a host serves nothing before it has proved itself", async () => {
  let jumpMs = 0;
  const clocks = { wall: () => Date.now() + jumpMs, monotonic: () => performance.now() };
  const host = await workspace.host({ clocks });
  await acknowledge(host, "acme", "a");
  jumpMs = 60_000;
  const proof = workspace.store.hold("get", "hosts/");
  let seen: readonly unknown[] = [];
  const reading = readBy(host, "acme").then((facts) => (seen = facts));
  await proof.arrived;
  await sleep(50);
  expect(seen).toEqual([]);
  proof.letThrough();
  expect(await reading).toEqual([1, "a"]);
  jumpMs = 0;
  workspace.store.down = true;
  await expect(host.use("acme", async () => {})).rejects.toMatchObject({ code: "not_durable" });
});

test("a host that nobody uses is told to end, with its wakes in the store", async () => {
  const agents = [agentOf("sleeper", ({ step }) => step.sleep("long", "1h"))];
  let idle = 0;
  const onIdle = (): void => void (idle += 1);
  const host = await workspace.host({ ...parking, agents, exitIdleMs: 1_000, onIdle });
  await host.use("acme", async (tenant) => {
    await tenant.runs.start({ agent: "sleeper", input: null });
    await tenant.durable();
  });
  await until("it is told", () => idle > 0);
  await host.drain();
  expect([await holder("acme"), (await workspace.store.list("wakes/")).length, idle]).toEqual([null, 1, 1]);
});

test("a host that only passes a request on does not end before it is answered", async () => {
  let idle = 0;
  const host = await workspace.host({ ...parking, exitIdleMs: 300, onIdle: () => void (idle += 1) });
  const answered = host.attend();
  await sleep(1_000);
  expect(idle).toBe(0);
  answered();
  await until("it is told", () => idle > 0);
});
