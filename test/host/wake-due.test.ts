import { afterEach, beforeEach, expect, test } from "vitest";
import type { WorkerHost } from "../../app/host/worker-host.ts";
import { until } from "../support/litestream.ts";
import { agentOf, HostWorkspace } from "../support/host.ts";
import { wakeKey } from "../support/wakes.ts";

let workspace: HostWorkspace;
beforeEach(async () => {
  workspace = await HostWorkspace.open();
});
afterEach(() => workspace.close());

const agents = [agentOf("sleeper", ({ step }) => step.sleep("long", "1h"))];

/** A host on a Machine and a disk of its own. */
async function hostOn(machine: string): Promise<WorkerHost> {
  return await workspace.hostOn({ machine }, { agents });
}

async function startSleeper(host: WorkerHost, tenantId: string): Promise<void> {
  await host.use(tenantId, async (tenant) => {
    await tenant.runs.start({ agent: "sleeper", input: null });
    await tenant.durable();
  });
}

test("a due wake whose tenant another live host has counts as served, and the tenant is left there", async () => {
  const [far, here] = [await hostOn("far"), await hostOn("here")];
  await startSleeper(far, "acme");
  expect(await here.wakeDue()).toEqual({ due: 1, served: 1 });
  expect(here.openTenants()).toEqual([]);
  expect((await workspace.tenants.stores.tenantRecord("acme")).host).toBe(far.id);
});

test("a due wake whose tenant nobody has is served by opening it, and one that cannot be opened is not counted", async () => {
  const far = await hostOn("far");
  await startSleeper(far, "acme");
  await far.drain();
  const here = await hostOn("here");
  await here.wakeDue();
  const now = Date.now();
  for (const tenantId of ["acme", "broken"]) await workspace.store.put(wakeKey(tenantId, now), "");
  await workspace.store.put("tenants/broken/tenant.json", "no record");
  expect(await here.wakeDue()).toEqual({ due: 2, served: 1 });
  expect(here.openTenants().map(({ id }) => id)).toEqual(["acme"]);
});

test("a damaged tenant is not due again at once, keeps its wake, and is due as ever when it was mended and opened", async () => {
  const far = await hostOn("far");
  await startSleeper(far, "acme");
  await far.drain();
  const key = wakeKey("acme", Date.now());
  await workspace.store.put(key, "");
  const record = await workspace.store.get("tenants/acme/tenant.json");
  await workspace.store.put("tenants/acme/tenant.json", "no record");
  const here = await hostOn("here");
  const postponed = (): Promise<readonly string[]> => workspace.store.list("postponed/");
  await until("it was tried", async () => (await postponed()).length === 1);
  expect(await here.wakeDue()).toEqual({ due: 0, served: 0 });
  expect(await workspace.store.list("wakes/")).toContain(key);
  await workspace.store.put("tenants/acme/tenant.json", record?.body ?? "");
  await until("it is open", () => here.use("acme", async () => true).catch(() => false));
  await until("nothing is postponed", async () => (await postponed()).length === 0);
  expect(await here.wakeDue()).toEqual({ due: 1, served: 1 });
});

test("a host that drains looks at no wakes, and says so", async () => {
  const host = await hostOn("here");
  await host.drain();
  await expect(host.wakeDue()).rejects.toMatchObject({ code: "draining" });
});
