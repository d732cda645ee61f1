import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { evictFile, unreleasedTenants } from "../../app/storage/data-folder.ts";
import { openTenant } from "../../app/storage/open-tenant.ts";
import { crash, readFacts, TenantWorkspace, writeFact } from "../support/storage.ts";

let workspace: TenantWorkspace;

beforeAll(async () => {
  workspace = await TenantWorkspace.open();
});

afterAll(() => workspace.close());

test("what was not shipped of a file may be deleted once another Machine has the tenant, and not before", async () => {
  const folder = join(workspace.dataFolder, "here");
  const here = await workspace.portsOn("here");
  const first = await openTenant("acme", here);
  await writeFact(first, "acknowledged");
  await first.durable();
  await crash(first, "not shipped");
  await here.hostRecord.retire();
  expect([await unreleasedTenants(folder), await evictFile(folder, "acme")]).toEqual([["acme"], false]);
  const far = workspace.keep(await openTenant("acme", await workspace.portsOn("far")));
  expect(await readFacts(far)).toEqual(["acknowledged"]);
  await expect(openTenant("acme", await workspace.portsOn("here"))).rejects.toMatchObject({ why: "holder" });
  expect([await unreleasedTenants(folder), await evictFile(folder, "acme")]).toEqual([[], true]);
});

test("a file that was released stays a warm copy although another Machine has the tenant", async () => {
  const folder = join(workspace.dataFolder, "here");
  const first = await openTenant("warm", await workspace.portsOn("here"));
  await writeFact(first, "acknowledged");
  await first.release(async () => {});
  const far = await openTenant("warm", await workspace.portsOn("far"));
  await expect(openTenant("warm", await workspace.portsOn("here"))).rejects.toMatchObject({ why: "holder" });
  await far.release(async () => {});
  const again = workspace.keep(await openTenant("warm", await workspace.portsOn("here")));
  expect([again.report.source, await unreleasedTenants(folder)]).toEqual(["local", ["warm"]]);
});
