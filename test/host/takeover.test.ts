import { existsSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { WorkerHost } from "../../app/host/worker-host.ts";
import { localBytes } from "../../app/storage/data-folder.ts";
import { until } from "../support/litestream.ts";
import { acknowledge, agentOf, hosted, HostWorkspace, type HostOptions } from "../support/host.ts";
import { readFacts } from "../support/storage.ts";

const ttlMs = 1_500;

let workspace: HostWorkspace;

beforeEach(async () => {
  workspace = await HostWorkspace.open();
});

afterEach(() => workspace.close());

/** A host on a Machine and a disk of its own. */
async function hostOn(machine: string, options: HostOptions = {}, region = "local"): Promise<WorkerHost> {
  return await workspace.hostOn({ machine, region, ttlMs }, options);
}

async function factsAt(host: WorkerHost, tenantId: string): Promise<readonly string[]> {
  return await host.use(tenantId, async (tenant) => {
    const facts = await readFacts(hosted(tenant).file);
    await tenant.durable();
    return facts;
  });
}

test("a tenant whose host lives is sent there, from what is remembered if that is fresh", async () => {
  const [far, here] = [await hostOn("far"), await hostOn("here")];
  await acknowledge(far, "acme", "a");
  await expect(factsAt(here, "acme")).rejects.toMatchObject({
    holder: { hostId: far.id, address: "http://far" },
  });
  const reads = workspace.store.calls.length;
  await expect(factsAt(here, "acme")).rejects.toMatchObject({ holder: { hostId: far.id } });
  expect(workspace.store.calls.slice(reads).filter(({ key }) => key.startsWith("tenants/"))).toEqual([]);
  await expect(here.status("acme")).rejects.toMatchObject({ holder: { hostId: far.id } });
});

test("a tenant that its host has let go is served by whoever is asked next, once it is known that it was let go", async () => {
  const [far, here] = [await hostOn("far"), await hostOn("here")];
  await acknowledge(far, "acme", "a");
  await expect(factsAt(here, "acme")).rejects.toMatchObject({ why: "holder" });
  await far.drain();
  here.noteUnreachable(far.id, "silent");
  expect(await factsAt(here, "acme")).toEqual(["a"]);
});

test("a file that is left here of a tenant that another host has counts on the disk, also when that tenant was asked for", async () => {
  const folder = join(workspace.tenants.dataFolder, "here");
  const before = await hostOn("here");
  await acknowledge(before, "acme", "a");
  await before.drain();
  const maxDiskBytes = (await localBytes(folder, "acme")) + 1;
  const here = await hostOn("here", { idleMs: 200, maxDiskBytes });
  await acknowledge(await hostOn("far"), "acme", "b");
  await expect(factsAt(here, "acme")).rejects.toMatchObject({ why: "holder" });
  expect(existsSync(join(folder, "acme"))).toBe(true);
  await acknowledge(here, "other", "a");
  await until("it made room", () => !existsSync(join(folder, "acme")));
});

test("a host that has let everything go says that it is over, so that nobody waits for it", async () => {
  const far = await hostOn("far");
  await acknowledge(far, "acme", "a");
  await far.drain();
  expect(await workspace.tenants.stores.hostState(far.id)).toBe("fenced");
});

test("what was acknowledged by a host that died is served by another one after its ttl", async () => {
  const [far, here] = [await hostOn("far"), await hostOn("here")];
  await acknowledge(far, "acme", "a");
  await workspace.kill(far);
  await until("the other host has taken over", async () => {
    here.noteUnreachable(far.id, "silent");
    return await factsAt(here, "acme").then(
      (facts) => facts.join() === "a",
      () => false,
    );
  });
  expect(await workspace.tenants.stores.hostState(far.id)).toBe("fenced");
});

test("a run of a host that died goes on at another one without a call, within about a ttl", async () => {
  const hosts: string[] = [];
  const agents = (name: string): HostOptions => ({
    agents: [
      agentOf("survivor", async ({ step }) => {
        await step.run("first", () => {});
        hosts.push(name);
        if (name === "far") await new Promise(() => {});
      }),
    ],
  });
  const far = await hostOn("far", agents("far"));
  await far.use("acme", async (tenant) => {
    await tenant.runs.start({ agent: "survivor", input: null });
    await tenant.durable();
  });
  await until("the run hangs", () => hosts.length === 1);
  await hostOn("here", agents("here"));
  await workspace.kill(far);
  await until("the run was taken up", () => hosts.length > 1);
  expect(hosts).toEqual(["far", "here"]);
});

test("a tenant is not taken from a host that lives by the wake of its unfinished run", async () => {
  const agents = [agentOf("sleeper", ({ step }) => step.sleep("long", "1h"))];
  const far = await hostOn("far", { agents });
  await far.use("acme", async (tenant) => {
    await tenant.runs.start({ agent: "sleeper", input: null });
    await tenant.durable();
  });
  const here = await hostOn("here", { agents });
  await until("the wake was looked at", () => workspace.store.count("get", `hosts/${far.id}`) > 3);
  expect(here.openTenants()).toEqual([]);
  expect((await workspace.tenants.stores.tenantRecord("acme")).host).toBe(far.id);
});

test("a draining host knows another one that lives, and no host that drains", async () => {
  const [far, here] = [await hostOn("far"), await hostOn("here")];
  expect(await far.anotherHost()).toMatchObject({ hostId: here.id });
  await here.drain();
  far.noteUnreachable(here.id, "refused");
  expect(await far.anotherHost()).toBeNull();
});
