import { randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { HostedTenant } from "../../app/host/hosted-tenant.ts";
import type { LitestreamControl } from "../../app/storage/litestream-control.ts";
import type { Litestream } from "../../app/storage/litestream.ts";
import { TenantUnavailableError } from "../../app/storage/errors.ts";
import { until } from "../support/litestream.ts";
import { acknowledge, agentOf, hosted, HostWorkspace } from "../support/host.ts";
import { readFacts } from "../support/storage.ts";

let workspace: HostWorkspace;

beforeEach(async () => {
  workspace = await HostWorkspace.open();
});

afterEach(() => workspace.close());

async function holder(tenantId: string): Promise<string | null> {
  return (await workspace.tenants.stores.tenantRecord(tenantId)).host;
}

async function releasedBy(tenantId: string): Promise<void> {
  await until(`${tenantId} is let go`, async () => (await holder(tenantId)) === null);
}

function epochOf(tenant: unknown): number {
  return hosted(tenant).file.epoch;
}

test("many first uses at once open the tenant once", async () => {
  const host = await workspace.host();
  const seen = new Set<HostedTenant>();
  await Promise.all(
    Array.from({ length: 20 }, () => host.use("acme", async (tenant) => void seen.add(hosted(tenant)))),
  );
  expect([seen.size, workspace.store.count("put", "tenants/acme/")]).toEqual([1, 1]);
  expect(host.openTenants()).toHaveLength(1);
});

test("an idle tenant is let go, and a use that comes meanwhile waits and opens it again", async () => {
  const host = await workspace.host({ idleMs: 60 });
  await acknowledge(host, "acme", "a");
  const release = workspace.store.hold("put", "tenants/acme/");
  await release.arrived;
  const using = host.use("acme", async (tenant) => [epochOf(tenant), await readFacts(hosted(tenant).file)]);
  await sleep(50);
  expect(host.openTenants()).toEqual([]);
  release.letThrough();
  expect(await using).toEqual([2, ["a"]]);
});

test("a tenant is not let go while it is used", async () => {
  const host = await workspace.host({ idleMs: 50 });
  await host.use("acme", async (tenant) => {
    await sleep(400);
    expect(host.openTenants()).toEqual([tenant]);
  });
  await releasedBy("acme");
});

test("a tenant is not let go while a run runs or its wake is near, and is with a wake that is far", async () => {
  const finish = Promise.withResolvers<void>();
  const agents = [
    agentOf("busy", async ({ step }) => {
      await step.run("work", () => finish.promise);
      await step.sleep("near", 250);
      await step.sleep("far", "10 min");
    }),
  ];
  const host = await workspace.host({ idleMs: 300, agents });
  await host.use("acme", async (tenant) => {
    await tenant.runs.start({ agent: "busy", input: null });
    await tenant.durable();
  });
  await sleep(600);
  expect(host.openTenants().map(epochOf)).toEqual([1]);
  finish.resolve();
  await releasedBy("acme");
  expect((await workspace.tenants.stores.tenantRecord("acme")).epoch).toBe(1);
  const [wake, ...others] = await workspace.store.list("wakes/");
  expect(others).toEqual([]);
  const at = Date.parse(`${wake?.split("/")[1]}:00Z`);
  expect(at - Date.now()).toBeGreaterThan(8 * 60_000);
});

test("a run's wake is in the store before the run is acknowledged", async () => {
  const agents = [agentOf("sleeper", ({ step }) => step.sleep("long", "1h"))];
  const host = await workspace.host({ agents });
  const put = workspace.store.hold("put", "wakes/");
  let acknowledged = false;
  const starting = host.use("acme", async (tenant) => {
    await tenant.runs.start({ agent: "sleeper", input: null });
    await tenant.durable();
    acknowledged = true;
  });
  await put.arrived;
  await sleep(200);
  expect(acknowledged).toBe(false);
  put.letThrough();
  await starting;
  expect(await workspace.store.list("wakes/")).toHaveLength(1);
});

test("after its host was killed a run goes on without a call, and its wake goes when it has ended", async () => {
  let lives = 0;
  const agents = [
    agentOf("survivor", async ({ step }) => {
      await step.run("first", () => {});
      lives += 1;
      if (lives === 1) await new Promise(() => {});
      return "done";
    }),
  ];
  const first = await workspace.host({ agents });
  const { run } = await first.use("acme", async (tenant) => {
    const started = await tenant.runs.start({ agent: "survivor", input: null });
    await tenant.durable();
    return started;
  });
  await until("the run hangs", () => lives === 1);
  await workspace.kill(first);
  const second = await workspace.host({ agents, idleMs: 100 });
  await until("the run was taken up", () => lives === 2);
  await releasedBy("acme");
  expect(await workspace.store.list("wakes/")).toEqual([]);
  expect(await second.use("acme", ({ runs }) => runs.get(run.id))).toMatchObject({
    status: "completed",
    output: "done",
  });
});

test("a stale wake is looked at in vain, and deleted", async () => {
  await workspace.store.put("wakes/2020-01-01T00:00/acme", "");
  await workspace.host({ idleMs: 50 });
  await until("the wake is gone", async () => (await workspace.store.list("wakes/")).length === 0);
  await until("the tenant is nobody's", async () => (await holder("acme")) === null);
  expect(await workspace.store.list("wakes/")).toEqual([]);
});

test("an opening that failed is not tried at once again, and is tried again later", async () => {
  const host = await workspace.host();
  workspace.store.fail("get", "tenants/acme/", "lost");
  const uses = Array.from({ length: 5 }, () => host.use("acme", async () => {}));
  for (const outcome of await Promise.allSettled(uses))
    expect(outcome).toMatchObject({ reason: { code: "tenant_unavailable" } });
  await expect(host.use("acme", async () => {})).rejects.toThrow(TenantUnavailableError);
  expect(workspace.store.count("get", "tenants/acme/")).toBe(1);
  await until("it opens", () => host.use("acme", async () => true).catch(() => false));
});

test("a tenant whose every epoch breaks at once is not claimed again and again without a pause", async () => {
  const agents = [agentOf("waits", async ({ step }) => step.sleep("a while", "100ms"))];
  const masterKeys = [{ id: "lost", key: randomBytes(32) }];
  const first = await workspace.host({ agents, storage: { masterKeys } });
  await first.use("acme", async (tenant) => {
    await tenant.runs.start({ agent: "waits", input: {} });
    await tenant.durable();
  });
  await workspace.kill(first);
  const host = await workspace.host({ agents });
  await host.takeUp(["acme"]);
  let refusal: unknown;
  await until("uses are refused meanwhile", async () => {
    refusal = await host.use("acme", async () => undefined).catch((error: unknown) => error);
    return refusal !== undefined;
  });
  expect(refusal).toBeInstanceOf(TenantUnavailableError);
});

test("a tenant that cannot be opened leaves the others served", async () => {
  await workspace.store.put("tenants/broken/tenant.json", "{");
  const host = await workspace.host();
  const [broken, served] = await Promise.allSettled([
    host.use("broken", async () => {}),
    acknowledge(host, "served", "a"),
  ]);
  expect(broken).toMatchObject({ reason: { code: "tenant_unavailable" } });
  expect(served.status).toBe("fulfilled");
  expect(await host.status("broken")).toMatchObject({
    state: "unavailable",
    reason: expect.stringContaining("not a record that this code can read"),
  });
});

test("a status is told of a tenant that is open, is being opened, cannot be opened or is let go", async () => {
  const host = await workspace.host();
  await acknowledge(host, "acme", "a");
  expect(await host.status("acme")).toMatchObject({ state: "open", epoch: 1, replication: { state: "ok" } });
  const claim = workspace.store.hold("put", "tenants/slow/");
  expect(await host.status("slow")).toMatchObject({
    state: "unavailable",
    reason: "It is still being opened.",
  });
  claim.letThrough();
  await host.drain();
  expect(await host.status("acme")).toMatchObject({ state: "unavailable" });
});

test("when Litestream cannot be right about a file, the tenant goes on in a new epoch, and so do its runs", async () => {
  const { litestream } = workspace.tenants;
  const control: LitestreamControl = {
    ...litestream.control,
    sync: async (database) =>
      database.path.includes("/e1/")
        ? { txid: 1, replicatedTxid: 9 }
        : await litestream.control.sync(database),
  };
  const lying: Litestream = {
    control,
    get state() {
      return litestream.state;
    },
    get life() {
      return litestream.life;
    },
    onRestart: (listener) => litestream.onRestart(listener),
    ready: (timeoutMs) => litestream.ready(timeoutMs),
    stop: () => litestream.stop(),
  };
  const agents = [
    agentOf("stepper", async ({ step }) => {
      await step.run("first", () => {});
      await step.run("second", () => {});
      return "done";
    }),
  ];
  const host = await workspace.host({ agents, storage: { litestream: lying } });
  const runId = await host.use("acme", async (tenant) => {
    const { run } = await tenant.runs.start({ agent: "stepper", input: null });
    await expect(tenant.durable()).rejects.toThrow("not the file that was registered");
    return run.id;
  });
  await until("the run ended in a new epoch", () =>
    host
      .use("acme", async (tenant) => {
        await tenant.durable();
        return epochOf(tenant) > 1 && (await tenant.runs.get(runId)).status === "completed";
      })
      .catch(() => false),
  );
});

test("a mark that may still come ends the epoch if it does, and the next one goes on", async () => {
  const host = await workspace.host();
  workspace.store.fail("put", "tenants/acme/", "lost");
  await expect(host.use("acme", async () => {})).rejects.toThrow("not known");
  await until("it opens", () => host.use("acme", async () => true).catch(() => false));
  workspace.store.fail("put", "tenants/acme/", "late");
  await expect(acknowledge(host, "acme", "a")).rejects.toThrow("not in object storage yet");
  await workspace.store.deliverLate();
  await until("it is durable", () =>
    host.use("acme", async (tenant) => (await tenant.durable(), true)).catch(() => false),
  );
  await workspace.kill(host);
  await workspace.wipe();
  const next = await workspace.host();
  expect(await next.use("acme", (tenant) => readFacts(hosted(tenant).file))).toEqual(["a"]);
});

test("while the store is down an idle tenant with something to ship stays open, and shows its lag", async () => {
  const host = await workspace.host({ idleMs: 50, durability: "local" });
  await host.use("acme", async (tenant) => {
    workspace.store.down = true;
    await hosted(tenant).file.connection.write((on) =>
      on.run("INSERT INTO meta (key, value) VALUES ('fact a', '')"),
    );
  });
  await sleep(1_600);
  expect(host.openTenants().map(epochOf)).toEqual([1]);
  expect(host.replicationLagMs()).toBeGreaterThan(1_000);
  expect(await host.status("acme")).toMatchObject({ replication: { state: "failing" } });
  workspace.store.down = false;
  await releasedBy("acme");
});
