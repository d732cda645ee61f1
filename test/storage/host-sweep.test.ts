import { afterEach, beforeEach, expect, test } from "vitest";
import { OwnHostRecord, type HostIdentity } from "../../app/storage/host-record.ts";
import { HostSweep } from "../../app/storage/host-sweep.ts";
import { Peers } from "../../app/storage/peers.ts";
import { readHostRecord } from "../../app/storage/records.ts";
import { SetHostClock } from "../fakes/host-clock.ts";
import { fenceNow, identityOf, StoreWorkspace } from "../support/storage.ts";

const ttlMs = 15_000;
const hourMs = 60 * 60_000;
const dayMs = 24 * hourMs;

let workspace: StoreWorkspace;
let clock: SetHostClock;
let sweep: HostSweep;

beforeEach(async () => {
  workspace = await StoreWorkspace.open();
  clock = new SetHostClock();
  sweep = await sweeper();
});

afterEach(() => workspace.close());

/** A host that beats as its own clock passes, which stands still unless it is told otherwise. */
function startHost(identity: Partial<HostIdentity> = {}, on = new SetHostClock()): Promise<OwnHostRecord> {
  const whole = { ...identityOf("far"), ttlMs, ...identity };
  return OwnHostRecord.create(workspace.store, whole, workspace.log, () => {}, on);
}

async function sweeper(): Promise<HostSweep> {
  const own = await startHost({}, clock);
  const ownId = own.identity.id;
  const peers = new Peers(workspace.store, ownId, clock);
  return new HostSweep({ store: workspace.store, peers, clock, ownId, log: workspace.log });
}

async function settle(): Promise<void> {
  for (let turns = 0; turns < 3; turns += 1) await new Promise((resolve) => setTimeout(resolve, 5));
}

/** A day passes for the clocks by which records are judged, without as many beats of this host. */
function dayPasses(): void {
  clock.wallOffsetMs += dayMs + 1;
}

async function sweepWhile(ms: number): Promise<void> {
  const sweeping = sweep.sweep();
  await settle();
  await clock.advance(ms, settle);
  await sweeping;
}

function state(host: OwnHostRecord): Promise<string | undefined> {
  return workspace.hostState(host.identity.id);
}

test("the record of a fenced host is kept for a day from its fencing, and then removed", async () => {
  const gone = await startHost();
  dayPasses();
  await sweepWhile(2 * ttlMs);
  expect(await state(gone)).toBe("fenced");
  await sweep.sweep();
  expect(await state(gone)).toBe("fenced");
  dayPasses();
  await sweep.sweep();
  expect(await state(gone)).toBe(undefined);
});

test("a host whose beat is long past by its own wrong clock, and that beats, is left alone", async () => {
  const farClock = new SetHostClock();
  const living = await startHost({}, farClock);
  dayPasses();
  const sweeping = sweep.sweep();
  await settle();
  for (let beats = 0; beats < 6; beats += 1) {
    await farClock.advance(ttlMs / 3, settle);
    await clock.advance(ttlMs / 3, settle);
  }
  await sweep.stop();
  await sweeping;
  expect(await state(living)).toBe("live");
  await living.proof();
});

test("a host whose beat is not a day old is left alone, however long it is silent", async () => {
  const silent = await startHost();
  await sweepWhile(100 * ttlMs);
  expect(await state(silent)).toBe("live");
});

test("a host that finds its record removed ends, as one that finds it fenced does", async () => {
  const paused = await startHost();
  await fenceNow(workspace.inner, paused.identity.id);
  await workspace.inner.delete(`hosts/${paused.identity.id}.json`);
  await expect(paused.proof()).rejects.toThrow("fenced");
});

test("this host's own record is left alone, and what cannot be read keeps no other from its end", async () => {
  const gone = await startHost();
  await fenceNow(workspace.inner, gone.identity.id);
  const fenced = await readHostRecord(workspace.inner, gone.identity.id);
  const old = { ...fenced?.value, fencedAt: clock.now() - 2 * dayMs };
  await workspace.inner.put(`hosts/${gone.identity.id}.json`, JSON.stringify(old));
  await workspace.inner.put("hosts/of-the-future.json", '{"format": 9}');
  dayPasses();
  await sweep.sweep();
  expect(await state(gone)).toBe(undefined);
  const left = await workspace.inner.list("hosts/");
  expect(left).toHaveLength(2);
  expect(left).toContain("hosts/of-the-future.json");
});

test("it looks about once an hour, and not while the host starts", async () => {
  const lists = (): number => workspace.store.count("list", "hosts/");
  await sweep.look();
  expect(lists()).toBe(0);
  await clock.advance(hourMs / 2, settle);
  await sweep.look();
  await sweep.look();
  expect(lists()).toBe(1);
  await clock.advance(hourMs, settle);
  await sweep.look();
  expect(lists()).toBe(2);
});
