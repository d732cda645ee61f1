import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { OwnHostRecord } from "../../app/storage/host-record.ts";
import { openTenant, type OpenTenant } from "../../app/storage/open-tenant.ts";
import { pruneTenant } from "../../app/storage/pruning.ts";
import { readFacts, TenantWorkspace, writeFact } from "../support/storage.ts";

const dayMs = 24 * 60 * 60_000;
const claimsPerDay = 4;

let workspace: TenantWorkspace;
let host: OwnHostRecord;
let now = Date.UTC(2026, 0, 1);

beforeAll(async () => {
  workspace = await TenantWorkspace.open();
  host = await workspace.stores.host();
});

afterAll(() => workspace.close());

async function live(fact: string): Promise<OpenTenant> {
  const ports = await workspace.ports({ hostRecord: host, now: () => now });
  const tenant = workspace.keep(await openTenant("acme", ports));
  await writeFact(tenant, fact);
  await tenant.durable();
  return tenant;
}

async function prune(tenant: OpenTenant): Promise<void> {
  await pruneTenant(tenant.record, { store: workspace.store, now, historyMs: 7 * dayMs });
}

async function stored(): Promise<{ readonly epochs: number; readonly bytes: number }> {
  const root = join(workspace.stores.folder, "store/tenants/acme");
  const files = (await readdir(root, { recursive: true, withFileTypes: true })).filter((one) => one.isFile());
  const sizes = await Promise.all(
    files.map(async (one) => (await stat(join(one.parentPath, one.name))).size),
  );
  const { lineage } = await workspace.stores.tenantRecord("acme");
  return { epochs: lineage.length, bytes: sizes.reduce((sum, size) => sum + size, 0) };
}

test("a tenant that is claimed and written several times a day takes no more room after a week of that than the week's epochs, and a month later one epoch's", async () => {
  const daily: { readonly epochs: number; readonly bytes: number }[] = [];
  for (let day = 0; day < 9; day += 1) {
    for (let claims = 0; claims < claimsPerDay; claims += 1) {
      const tenant = await live(`${day}-${claims}`);
      if (claims === 0) await prune(tenant);
      now += dayMs / claimsPerDay;
      await tenant.release(async () => {});
    }
    daily.push(await stored());
  }
  const week = 7 * claimsPerDay;
  expect(daily.slice(0, 7).map(({ epochs }) => epochs)).toEqual(
    Array.from({ length: 7 }, (_, day) => (day + 1) * claimsPerDay),
  );
  for (const { epochs } of daily.slice(7)) expect(epochs).toBeLessThanOrEqual(week + claimsPerDay);
  now += 21 * dayMs;
  const last = await live("a month later");
  await prune(last);
  const { epochs, bytes } = await stored();
  expect(epochs).toBe(1);
  const perEpoch = (daily.at(6)?.bytes ?? 0) / week;
  expect(bytes).toBeLessThan(4 * perEpoch);
  expect(await readFacts(last)).toHaveLength(9 * claimsPerDay + 1);
}, 120_000);
