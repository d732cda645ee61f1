import { afterAll, beforeAll, expect, test } from "vitest";
import { openTenant } from "../../app/storage/open-tenant.ts";
import { crash, readFacts, TenantWorkspace, writeFact } from "../support/storage.ts";

let workspace: TenantWorkspace;

beforeAll(async () => {
  workspace = await TenantWorkspace.open();
});

afterAll(() => workspace.close());

const restore = (): Promise<never> => Promise.reject(new Error("there is no space left"));

test("a tenant that cannot be opened on one host is opened by another, which finds all of it", async () => {
  const first = await openTenant("acme", await workspace.portsOn("first"));
  await writeFact(first, "acknowledged");
  await first.release(async () => {});
  await workspace.stores.editRecord("acme", (record) => ({ ...record, snapshot: null }));
  const sick = await workspace.portsOn("sick", { restore });
  await expect(openTenant("acme", sick)).rejects.toThrow("no space left");
  const { host, epoch, lineage } = await workspace.stores.tenantRecord("acme");
  expect([host, epoch, lineage.map((entry) => entry.epoch)]).toEqual([null, 2, [1]]);
  const well = workspace.keep(await openTenant("acme", await workspace.portsOn("well")));
  expect([well.epoch, await readFacts(well)]).toEqual([3, ["acknowledged"]]);
});

test("an older copy that was released does not keep a tenant where it cannot be opened, and one with more in it does", async () => {
  const old = await openTenant("older", await workspace.portsOn("sick"));
  await old.release(async () => {});
  const newer = await openTenant("older", await workspace.portsOn("well"));
  await writeFact(newer, "acknowledged");
  await newer.release(async () => {});
  await workspace.stores.editRecord("older", (record) => ({ ...record, snapshot: null }));
  const sick = await workspace.portsOn("sick", { restore });
  await expect(openTenant("older", sick)).rejects.toThrow("no space left");
  expect((await workspace.stores.tenantRecord("older")).host).toBe(null);
  const again = await openTenant("older", await workspace.portsOn("well"));
  await crash(again, "not shipped");
  const { host } = await workspace.stores.tenantRecord("older");
  const findLoss = (): Promise<string> => Promise.resolve("it is shorter than it was");
  const next = await workspace.portsOn("well", { restore });
  const files = Object.assign(next.files, { findLoss });
  await expect(openTenant("older", { ...next, files })).rejects.toThrow("no space left");
  expect((await workspace.stores.tenantRecord("older")).host).not.toBe(host);
});

test("whose host crashed is still known after another could not open it", async () => {
  const crashed = await workspace.portsOn("crashed");
  const first = workspace.keep(await openTenant("lost", crashed));
  await writeFact(first, "acknowledged");
  await first.durable();
  await crashed.hostRecord.retire();
  const sick = await workspace.portsOn("sick", { restore });
  await expect(openTenant("lost", sick)).rejects.toThrow("no space left");
  expect((await workspace.stores.tenantRecord("lost")).host).toBe(crashed.hostRecord.identity.id);
  const well = workspace.keep(await openTenant("lost", await workspace.portsOn("well")));
  expect([well.followsRelease, await readFacts(well)]).toEqual([false, ["acknowledged"]]);
});
