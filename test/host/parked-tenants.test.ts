import { setImmediate as turnOfTheLoop } from "node:timers/promises";
import { expect, test } from "vitest";
import type { Parked } from "../../app/host/hosted-tenant.ts";
import { ParkedTenants } from "../../app/host/parked-tenants.ts";
import type { TenantSlot } from "../../app/host/tenant-slot.ts";

const tenants = 200;

/** So many parked tenants, in the order of their names, whose releases end when they are told to. */
function parkedTenants(): {
  readonly parked: ParkedTenants;
  readonly released: string[];
  readonly letGo: () => Promise<void>;
} {
  const released: string[] = [];
  let underWay = Promise.withResolvers<void>();
  const parked = new ParkedTenants({
    releaseMs: 1_000,
    isStoreUp: () => true,
    slotOf: (tenantId) => {
      parked.take(tenantId);
      released.push(tenantId);
      const { promise } = underWay;
      return { end: () => promise } as unknown as TenantSlot;
    },
  });
  for (let n = 0; n < tenants; n += 1) parked.add(nameOf(n), {} as Parked, n);
  const letGo = async (): Promise<void> => {
    const { resolve } = underWay;
    underWay = Promise.withResolvers<void>();
    resolve();
    await turnOfTheLoop();
  };
  return { parked, released, letGo };
}

function nameOf(n: number): string {
  return `tenant-${n}`;
}

test("at the end those are given away first that were used last, some at a time, and at last all of them", async () => {
  const { parked, released, letGo } = parkedTenants();
  const ended = parked.end(new AbortController().signal);
  const atOnce = released.length;
  expect([atOnce > 1, atOnce < tenants]).toEqual([true, true]);
  while (parked.size > 0) await letGo();
  await letGo();
  await ended;
  expect(released).toEqual(Array.from({ length: tenants }, (_, n) => nameOf(tenants - 1 - n)));
});

test("when the time is up no further release begins, and those under way are waited for", async () => {
  const { parked, released, letGo } = parkedTenants();
  const late = new AbortController();
  const ended = parked.end(late.signal);
  const begun = released.length;
  late.abort();
  let isOver = false;
  void ended.then(() => (isOver = true));
  await turnOfTheLoop();
  expect(isOver).toBe(false);
  await letGo();
  await ended;
  expect([released.length, parked.size]).toEqual([begun, tenants - begun]);
});
