import { randomUUID } from "node:crypto";
import { afterEach, beforeEach, expect, test } from "vitest";
import { claimTenant, type Claim } from "../../app/storage/claim.ts";
import { TenantUnavailableError } from "../../app/storage/errors.ts";
import type { OwnHostRecord } from "../../app/storage/host-record.ts";
import { OwnedRecord } from "../../app/storage/owned-record.ts";
import { tenantKey, type TenantRecord } from "../../app/storage/records.ts";
import type { StoreFault } from "../fakes/faulty-store.ts";
import { fenceNow, StoreWorkspace } from "../support/storage.ts";

let workspace: StoreWorkspace;
let host: OwnHostRecord;

beforeEach(async () => {
  workspace = await StoreWorkspace.open();
  host = await workspace.host();
});

afterEach(() => workspace.close());

function claim(by: OwnHostRecord, localEpoch: number | null = null): Promise<Claim> {
  const claimer = workspace.claimer(by);
  return claimTenant(workspace.store, "acme", claimer, { now: 1, schema: 1, localEpoch });
}

function record(): Promise<TenantRecord> {
  return workspace.tenantRecord("acme");
}

test("a tenant that nobody has claimed is claimed as its first epoch, unmarked", async () => {
  const { epoch, before } = await claim(host);
  expect([epoch, before]).toEqual([1, undefined]);
  expect(await record()).toMatchObject({
    epoch: 1,
    host: host.identity.id,
    lineage: [{ epoch: 1, machine: "this-machine", from: null, closedAt: null, txid: null }],
  });
});

test("every claim is a new epoch, a host's own one again included", async () => {
  const epochs: number[] = [];
  for (let claims = 0; claims < 3; claims += 1) epochs.push((await claim(host)).epoch);
  await new OwnedRecord(workspace.store, await claim(host)).release({ closedAt: 2, txid: null });
  epochs.push((await claim(host)).epoch);
  expect(epochs).toEqual([1, 2, 3, 5]);
});

test.each<StoreFault>(["unanswered", "doubled"])(
  "a claim whose put is %s is settled by its nonce",
  async (fault) => {
    for (const epoch of [1, 2]) {
      workspace.store.fail("put", "tenants/", fault);
      expect((await claim(host)).epoch).toBe(epoch);
    }
    expect((await record()).host).toBe(host.identity.id);
  },
);

test("a claim that may still come is refused, and its epoch is never given out again", async () => {
  workspace.store.fail("put", "tenants/", "late");
  await expect(claim(host)).rejects.toThrow(TenantUnavailableError);
  await workspace.store.deliverLate();
  expect((await claim(host)).epoch).toBe(2);
});

test("a claim that comes after another one changes nothing", async () => {
  const other = await workspace.host();
  workspace.store.fail("put", "tenants/", "late");
  await expect(claim(host)).rejects.toThrow(TenantUnavailableError);
  const { epoch } = await claim(other);
  await workspace.store.deliverLate();
  expect(await record()).toMatchObject({ epoch, host: other.identity.id });
});

test("of many who claim at once exactly one wins", async () => {
  for (const round of [1, 2]) {
    const hosts = await Promise.all(Array.from({ length: 6 }, () => workspace.host()));
    const claims = await Promise.allSettled(hosts.map((one) => claim(one)));
    const won = claims.flatMap((one, index) => (one.status === "fulfilled" ? [hosts[index]] : []));
    expect(won, `round ${round}`).toHaveLength(1);
    expect(claims.flatMap((one) => (one.status === "rejected" ? [one.reason] : []))).toSatisfy(
      (reasons: readonly unknown[]) => reasons.every((reason) => reason instanceof TenantUnavailableError),
    );
    const winner = won[0] as OwnHostRecord;
    expect((await record()).host).toBe(winner.identity.id);
    await winner.proof();
    await workspace.inner.delete(tenantKey("acme"));
  }
});

test("who finds a new tenant claimed by another host between two looks is told where it is, not of a lost record", async () => {
  const far = await workspace.host({ machine: "another", address: "http://far:1" });
  const look = workspace.store.hold("list", "tenants/");
  const late = claim(host);
  await look.arrived;
  await claim(far);
  look.letThrough();
  await expect(late).rejects.toMatchObject({
    name: "ElsewhereError",
    why: "holder",
    holder: { hostId: far.identity.id, address: "http://far:1" },
  });
});

test("a tenant of which the store has nothing but the data key has lost its record, and is no new one", async () => {
  await workspace.inner.put("keys/acme.json", "{}");
  await expect(claim(host)).rejects.toThrow(/tenant.json is gone, and there is "keys\/acme.json"/);
  expect(await workspace.inner.list("tenants/")).toEqual([]);
});

test("a tenant whose host lives on another Machine is not taken, and the claimer is told where it is", async () => {
  const far = await workspace.host({ machine: "another", address: "http://far:1", region: "sea" });
  await claim(far);
  const before = await record();
  await expect(claim(host)).rejects.toMatchObject({
    name: "ElsewhereError",
    why: "holder",
    holder: { hostId: far.identity.id, machine: "another", address: "http://far:1", region: "sea" },
  });
  expect(await record()).toEqual(before);
  await far.proof();
});

test("a tenant whose holder on another Machine was fenced, or has no record, is taken", async () => {
  const far = await workspace.host({ machine: "another" });
  await claim(far);
  await fenceNow(workspace.inner, far.identity.id);
  expect((await claim(host)).epoch).toBe(2);
  const farther = await workspace.host({ machine: "another" });
  await new OwnedRecord(workspace.store, await claim(host)).release({ closedAt: 2, txid: null });
  await claim(farther);
  await workspace.inner.delete(`hosts/${farther.identity.id}.json`);
  expect((await claim(host)).epoch).toBe(5);
});

test("a tenant that was let go is taken by any Machine, and nobody is fenced", async () => {
  const far = await workspace.host({ machine: "another" });
  await new OwnedRecord(workspace.store, await claim(far)).release({ closedAt: 2, txid: null });
  expect((await claim(host)).epoch).toBe(2);
  await far.proof();
});

test("an earlier life of this Machine is fenced first, and only then is its tenant claimed", async () => {
  const earlier = await workspace.host();
  await claim(earlier);
  const put = workspace.store.hold("put", "tenants/");
  const claiming = claim(host);
  await put.arrived;
  expect(await workspace.hostState(earlier.identity.id)).toBe("fenced");
  expect((await record()).host).toBe(earlier.identity.id);
  put.letThrough();
  expect((await claiming).epoch).toBe(2);
});

test("an earlier life that beats meanwhile lives, and keeps its tenant", async () => {
  const earlier = await workspace.host();
  await claim(earlier);
  const fencing = workspace.store.hold("put", "hosts/");
  const claiming = claim(host);
  await fencing.arrived;
  await earlier.drain();
  fencing.letThrough();
  await expect(claiming).rejects.toThrow(/which lives/);
  expect((await record()).host).toBe(earlier.identity.id);
  await earlier.proof();
});

test("as long as it is not known whether the holder was fenced, its tenant is not claimed", async () => {
  const earlier = await workspace.host();
  await claim(earlier);
  workspace.store.fail("put", "hosts/", "lost");
  await expect(claim(host)).rejects.toThrow(TenantUnavailableError);
  expect((await record()).epoch).toBe(1);
  expect((await claim(host)).epoch).toBe(2);
});

test.each([
  ["tenants/acme/tenant.json", "the tenant's own record"],
  ["hosts/", "its holder's record"],
])("an unreadable %s is a clear error, and is left as it is", async (prefix) => {
  const earlier = await workspace.host();
  await claim(earlier);
  const key = prefix === "hosts/" ? `hosts/${earlier.identity.id}.json` : prefix;
  await workspace.inner.put(key, '{"format": "of the future"}');
  await expect(claim(host)).rejects.toThrow(TenantUnavailableError);
  await expect(claim(host)).rejects.toThrow(key);
  expect(Buffer.from((await workspace.inner.get(key))?.body ?? []).toString()).toContain("of the future");
});

test("what a newer version wrote into a record survives claim, mark and release", async () => {
  const owned = new OwnedRecord(workspace.store, await claim(host));
  await owned.mark({ epoch: 0, txid: 0 }, null);
  await workspace.editRecord("acme", (found) => ({
    ...found,
    plan: "gold",
    lineage: found.lineage.map((entry) => ({ ...entry, pinned: true, from: { ...entry.from, by: "x" } })),
  }));
  const next = new OwnedRecord(workspace.store, await claim(host));
  await next.mark({ epoch: 1, txid: 4 }, null);
  await next.release({ closedAt: 9, txid: 6 });
  const found = await record();
  expect(found).toMatchObject({ plan: "gold", host: null, epoch: 2 });
  expect(found.lineage[0]).toMatchObject({ pinned: true, from: { epoch: 0, txid: 0, by: "x" } });
  expect(found.lineage[1]).toMatchObject({ from: { epoch: 1, txid: 4 }, closedAt: 9, txid: 6 });
});

test("a tenant that is claimed again and again without being written keeps its record small", async () => {
  await new OwnedRecord(workspace.store, await claim(host)).mark({ epoch: 0, txid: 0 }, null);
  for (let claims = 0; claims < 20; claims += 1) await claim(host, 3);
  const { lineage, epoch } = await record();
  expect(epoch).toBe(21);
  expect(lineage.map((entry) => entry.epoch)).toEqual([1, 3, 21]);
});

test("an unmarked epoch of another Machine is remembered until a later one is marked", async () => {
  const far = await workspace.host({ machine: "another" });
  await claim(far);
  await workspace.inner.delete(`hosts/${far.identity.id}.json`);
  await claim(host);
  const owned = new OwnedRecord(workspace.store, await claim(host));
  expect((await record()).lineage.map((entry) => entry.epoch)).toEqual([1, 3]);
  await owned.mark({ epoch: 0, txid: 0 }, null);
  await claim(host);
  expect((await record()).lineage.map((entry) => entry.epoch)).toEqual([3, 4]);
});

test("a mark by a host that has lost the tenant is refused", async () => {
  const lost = new OwnedRecord(workspace.store, await claim(host));
  await claim(await workspace.host());
  await expect(lost.mark({ epoch: 0, txid: 0 }, null)).rejects.toThrow("changed by someone else");
  expect((await record()).lineage.every(({ from }) => from === null)).toBe(true);
  expect(await lost.isCurrent()).toBe(false);
});

test("a mark whose answer is lost is settled; one that may still come fails, and cannot come after a claim", async () => {
  const owned = new OwnedRecord(workspace.store, await claim(host));
  workspace.store.fail("put", "tenants/", "unanswered");
  await owned.mark({ epoch: 0, txid: 0 }, null);
  expect(await owned.isCurrent()).toBe(true);
  const next = new OwnedRecord(workspace.store, await claim(host));
  workspace.store.fail("put", "tenants/", "late");
  await expect(next.mark({ epoch: 1, txid: 1 }, null)).rejects.toThrow("not known");
  await claim(host);
  const before = await record();
  await workspace.store.deliverLate();
  expect(await record()).toEqual(before);
});

test("writes of an owned record go out one after the other, each on the last", async () => {
  const owned = new OwnedRecord(workspace.store, await claim(host));
  await Promise.all([
    owned.mark({ epoch: 0, txid: 0 }, null),
    owned.mark({ epoch: 0, txid: 1 }, null),
    owned.release({ closedAt: 5, txid: 2 }),
  ]);
  expect(await record()).toMatchObject({
    host: null,
    lineage: [{ epoch: 1, from: { epoch: 0, txid: 1 }, closedAt: 5, txid: 2 }],
  });
});

test("a release that may still come cannot end a later epoch of the same host", async () => {
  const owned = new OwnedRecord(workspace.store, await claim(host));
  workspace.store.fail("put", "tenants/", "late");
  await expect(owned.release({ closedAt: 5, txid: null })).rejects.toThrow("not known");
  await claim(host);
  await workspace.store.deliverLate();
  expect((await record()).host).toBe(host.identity.id);
});

test("claims, marks and releases with lost answers never give one epoch to two", async () => {
  const hosts = await Promise.all(Array.from({ length: 3 }, () => workspace.host({ id: randomUUID() })));
  const owners = new Map<number, string>();
  const twice: number[] = [];
  workspace.store.atRandom(7, { lost: 0.05, unanswered: 0.1, late: 0.1, doubled: 0.1 });
  for (let rounds = 0; rounds < 40; rounds += 1) {
    const won = await Promise.allSettled(hosts.map((one) => claim(one)));
    for (const one of won) {
      if (one.status === "rejected") continue;
      const owner = one.value.record.value.host ?? "";
      if ((owners.get(one.value.epoch) ?? owner) !== owner) twice.push(one.value.epoch);
      owners.set(one.value.epoch, owner);
    }
    if (rounds % 3 === 0) await workspace.store.deliverLate();
    // Each of them may have fenced the others; the ones that are left out come back as new lives.
    for (let index = 0; index < hosts.length; index += 1) {
      if ((await workspace.hostState(hosts[index]?.identity.id ?? "")) !== "fenced") continue;
      await hosts[index]?.stop();
      workspace.store.atRandom(rounds, {});
      hosts[index] = await workspace.host();
      workspace.store.atRandom(rounds, { lost: 0.05, unanswered: 0.1, late: 0.1, doubled: 0.1 });
    }
  }
  expect(twice).toEqual([]);
  expect(owners.size).toBeGreaterThan(10);
});
