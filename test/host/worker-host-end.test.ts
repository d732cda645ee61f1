import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, expect, test } from "vitest";
import { DrainingError } from "../../app/storage/errors.ts";
import { until } from "../support/litestream.ts";
import { acknowledge, hosted, HostWorkspace } from "../support/host.ts";
import { readFacts } from "../support/storage.ts";

let workspace: HostWorkspace;

beforeEach(async () => {
  workspace = await HostWorkspace.open();
});

afterEach(() => workspace.close());

async function holder(tenantId: string): Promise<string | null> {
  return (await workspace.tenants.stores.tenantRecord(tenantId)).host;
}

test("a drain lets every tenant go, one that is just being opened too, and takes no more work", async () => {
  const host = await workspace.host();
  await acknowledge(host, "one", "a");
  await acknowledge(host, "two", "b");
  const claim = workspace.store.hold("put", "tenants/three/");
  const opening = host.use("three", async () => {});
  await claim.arrived;
  const draining = host.drain();
  await expect(host.use("one", async () => {})).rejects.toThrow(DrainingError);
  claim.letThrough();
  await Promise.allSettled([opening]);
  await draining;
  expect(await Promise.all(["one", "two", "three"].map(holder))).toEqual([null, null, null]);
  expect(await workspace.tenants.stores.hostState(host.id)).toBe("fenced");
  await expect(host.use("four", async () => {})).rejects.toThrow(DrainingError);
  expect(await workspace.tenants.litestream.control.list()).toEqual([]);
});

test("a drain waits for a request that came before it, and what that was told holds", async () => {
  const host = await workspace.host();
  const inside = Promise.withResolvers<void>();
  const using = host.use("acme", async (tenant) => {
    inside.resolve();
    await sleep(200);
    await hosted(tenant).file.connection.write((on) =>
      on.run("INSERT INTO meta (key, value) VALUES ('fact late', '')"),
    );
    await tenant.durable();
  });
  await inside.promise;
  await host.drain();
  await using;
  await workspace.wipe();
  const next = await workspace.host();
  expect(await next.use("acme", (tenant) => readFacts(hosted(tenant).file))).toEqual(["late"]);
});

test("a host that drains or was fenced opens no tenant for a wake", async () => {
  for (const end of ["drain", "fence"] as const) {
    await workspace.store.put("wakes/2020-01-01T00:00/acme", "");
    const list = workspace.store.hold("list", "wakes/");
    const host = await workspace.host();
    await list.arrived;
    const ending = end === "drain" ? host.drain() : Promise.resolve(host.fence());
    list.letThrough();
    await ending;
    await sleep(100);
    expect(workspace.store.count("put", "tenants/acme/")).toBe(0);
  }
});

test("a fenced host drops what is open and what is being opened, and answers nothing more", async () => {
  const host = await workspace.host();
  const waiting = Promise.withResolvers<void>();
  const using = host.use("open", async (tenant) => {
    waiting.resolve();
    await sleep(100);
    await tenant.durable();
  });
  await waiting.promise;
  const claim = workspace.store.hold("put", "tenants/opening/");
  const opening = host.use("opening", async (tenant) => tenant.durable());
  await claim.arrived;
  host.fence();
  claim.letThrough();
  expect(await Promise.allSettled([using, opening])).toMatchObject([
    { status: "rejected" },
    { reason: { code: "draining" } },
  ]);
  await until("nothing is open", () => host.openTenants().length === 0);
  await expect(host.use("another", async () => {})).rejects.toThrow(DrainingError);
  expect(await workspace.tenants.litestream.control.list()).toEqual([]);
});
