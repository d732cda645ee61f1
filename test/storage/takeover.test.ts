import { afterEach, beforeEach, expect, test } from "vitest";
import { claimTenant, type Claim, type FarFromHome } from "../../app/storage/claim.ts";
import { OwnHostRecord, type HostIdentity } from "../../app/storage/host-record.ts";
import { OwnedRecord } from "../../app/storage/owned-record.ts";
import { Peers } from "../../app/storage/peers.ts";
import type { TenantRecord } from "../../app/storage/records.ts";
import { SetHostClock } from "../fakes/host-clock.ts";
import { identityOf, StoreWorkspace } from "../support/storage.ts";

const ttlMs = 15_000;
const beatMs = ttlMs / 3;

let workspace: StoreWorkspace;
/** The claimer's clock; the other hosts have one each, which may say anything. */
let clock: SetHostClock;
let here: OwnHostRecord;
let peers: Peers;

beforeEach(async () => {
  workspace = await StoreWorkspace.open();
  clock = new SetHostClock();
  here = await startHost({ machine: "here" }, clock);
  peers = new Peers(workspace.store, here.identity.id, clock);
});

afterEach(() => workspace.close());

function startHost(identity: Partial<HostIdentity>, on = new SetHostClock()): Promise<OwnHostRecord> {
  const whole = { ...identityOf("far"), ttlMs, ...identity };
  return OwnHostRecord.create(workspace.store, whole, workspace.log, () => {}, on);
}

function claim(by: OwnHostRecord = here, farFromHome: FarFromHome = "unless-served"): Promise<Claim> {
  const claimer = workspace.claimer(by, { farFromHome, ...(by === here ? { peers } : {}) });
  return claimTenant(workspace.store, "acme", claimer, { now: 1, schema: 1, localEpoch: null });
}

function record(): Promise<TenantRecord> {
  return workspace.tenantRecord("acme");
}

async function settle(): Promise<void> {
  for (let turns = 0; turns < 3; turns += 1) await new Promise((resolve) => setTimeout(resolve, 5));
}

function pass(ms: number): Promise<void> {
  return clock.advance(ms, settle);
}

test("a host whose record has not changed for its ttl is fenced first, and only then is its tenant claimed", async () => {
  const far = await startHost({});
  await claim(far);
  await expect(claim()).rejects.toMatchObject({ holder: { hostId: far.identity.id } });
  await pass(ttlMs - 1);
  await expect(claim()).rejects.toMatchObject({ why: "holder" });
  await pass(1);
  const put = workspace.store.hold("put", "tenants/");
  const claiming = claim();
  await put.arrived;
  expect(await workspace.hostState(far.identity.id)).toBe("fenced");
  expect((await record()).host).toBe(far.identity.id);
  put.letThrough();
  expect((await claiming).epoch).toBe(2);
  await expect(far.proof()).rejects.toThrow("fenced");
});

test("staleness counts on the claimer's own clock: what the other's clock says does not matter", async () => {
  const wrong = new SetHostClock();
  wrong.wallOffsetMs = 0;
  const far = await startHost({}, wrong);
  await claim(far);
  await expect(claim()).rejects.toMatchObject({ why: "holder" });
  clock.wallOffsetMs += 365 * 86_400_000;
  await expect(claim()).rejects.toMatchObject({ why: "holder" });
  await far.proof();
});

test("a beat starts the patience anew", async () => {
  const far = await startHost({});
  await claim(far);
  await expect(claim()).rejects.toMatchObject({ why: "holder" });
  await pass(ttlMs - 1);
  // Any write of the record is a beat.
  await far.drain();
  await pass(1);
  await expect(claim()).rejects.toMatchObject({ why: "holder" });
  await far.proof();
});

test("a stale host that beats while it is being fenced lives, and keeps its tenant", async () => {
  const far = await startHost({});
  await claim(far);
  await expect(claim()).rejects.toMatchObject({ why: "holder" });
  await pass(ttlMs);
  const fencing = workspace.store.hold("put", "hosts/");
  const claiming = claim();
  await fencing.arrived;
  await far.drain();
  fencing.letThrough();
  await expect(claiming).rejects.toMatchObject({
    name: "ElsewhereError",
    holder: { hostId: far.identity.id },
  });
  await far.proof();
});

test("a host that beat after it was found stale is not fenced by a put that knows only the older record", async () => {
  const far = await startHost({});
  await claim(far);
  await expect(claim()).rejects.toMatchObject({ why: "holder" });
  await pass(ttlMs);
  const looked = peers.look(far.identity.id);
  expect((await looked).kind).toBe("stale");
  await far.drain();
  await expect(claim()).rejects.toMatchObject({ why: "holder" });
  await far.proof();
});

test.each([
  { what: "that refuses connections", drains: false, patienceMs: 2 * beatMs },
  { what: "that drains has its whole ttl, even if it refuses connections,", drains: true, patienceMs: ttlMs },
])("a host $what is stale after $patienceMs ms", async ({ drains, patienceMs }) => {
  const far = await startHost({});
  if (drains) await far.drain();
  await claim(far);
  await expect(claim()).rejects.toMatchObject({ why: "holder" });
  peers.noteRefused(far.identity.id);
  await pass(patienceMs - 1);
  await expect(claim()).rejects.toMatchObject({ why: "holder" });
  await pass(1);
  expect((await claim()).epoch).toBe(2);
});

test("of two that take over at once one wins, and the other is told of it", async () => {
  const far = await startHost({});
  await claim(far);
  const rival = await startHost({ machine: "rival" });
  await expect(claim()).rejects.toMatchObject({ why: "holder" });
  await pass(ttlMs);
  const put = workspace.store.hold("put", "tenants/");
  const claiming = claim();
  await put.arrived;
  await claim(rival);
  put.letThrough();
  await expect(claiming).rejects.toMatchObject({ holder: { hostId: rival.identity.id } });
  await rival.proof();
});

test("whoever waits for a silent host is told in its ttl; one that beats is waited for on and on", async () => {
  const farClock = new SetHostClock();
  const far = await startHost({}, farClock);
  let lost = false;
  const waiting = new AbortController();
  const told = peers.lost(far.identity.id, waiting.signal).then(() => (lost = true));
  await settle();
  for (let beats = 0; beats < 6; beats += 1) {
    await farClock.advance(beatMs, settle);
    await pass(beatMs);
  }
  expect(lost).toBe(false);
  await pass(ttlMs / 10);
  await pass(ttlMs);
  await told;
  waiting.abort();
});

test("whoever waits for a host that retires is told at its next look", async () => {
  const far = await startHost({});
  const told = peers.lost(far.identity.id, new AbortController().signal);
  await settle();
  await far.retire();
  await pass(ttlMs / 10);
  await told;
  expect(await workspace.hostState(far.identity.id)).toBe("fenced");
});

test("a tenant whose home is another region is claimed there, unless no host of that region lives", async () => {
  const home = await startHost({ region: "sea" });
  await new OwnedRecord(workspace.store, await claim(home)).release({ closedAt: 2, txid: null });
  await expect(claim()).rejects.toMatchObject({ why: "region", holder: { hostId: home.identity.id } });
  await pass(ttlMs);
  expect((await claim()).epoch).toBe(2);
  expect((await record()).region).toBe("sea");
});

test("a request that was sent here is served here, wherever the tenant's home is", async () => {
  const home = await startHost({ region: "sea" });
  await new OwnedRecord(workspace.store, await claim(home)).release({ closedAt: 2, txid: null });
  expect((await claim(here, "always")).epoch).toBe(2);
});

test("where a way to the home region starts a Machine there, a tenant is not claimed elsewhere", async () => {
  const home = await startHost({ region: "sea" });
  await new OwnedRecord(workspace.store, await claim(home)).release({ closedAt: 2, txid: null });
  await home.retire();
  await expect(claim(here, "never")).rejects.toMatchObject({ why: "region", region: "sea", holder: null });
});

test("a stale holder in the home region is fenced before its tenant is sent to another host there", async () => {
  const gone = await startHost({ region: "sea" });
  await claim(gone);
  await expect(claim()).rejects.toMatchObject({ why: "holder" });
  await pass(ttlMs);
  const home = await startHost({ region: "sea" });
  await expect(claim()).rejects.toMatchObject({ why: "region", holder: { hostId: home.identity.id } });
  expect(await workspace.hostState(gone.identity.id)).toBe("fenced");
});
