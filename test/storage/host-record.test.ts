import { setTimeout as sleep } from "node:timers/promises";
import { assert, asyncProperty, integer } from "fast-check";
import { afterEach, beforeEach, expect, test } from "vitest";
import { FencedError, type OwnHostRecord } from "../../app/storage/host-record.ts";
import { PreconditionFailedError } from "../../app/storage/object-store.ts";
import { hostKey, readHostRecord } from "../../app/storage/records.ts";
import { randomFrom, type StoreFault } from "../fakes/faulty-store.ts";
import { until } from "../support/litestream.ts";
import { fenceNow, StoreWorkspace } from "../support/storage.ts";

let workspace: StoreWorkspace;
let fencedBecause: string[];

beforeEach(async () => {
  workspace = await StoreWorkspace.open();
  fencedBecause = [];
});

afterEach(() => workspace.close());

/** Beats only when a test calls `drain`, which beats at once. */
function quietHost(): Promise<OwnHostRecord> {
  return workspace.host({}, (why) => fencedBecause.push(why));
}

function fastHost(): Promise<OwnHostRecord> {
  return workspace.host({ ttlMs: 30 }, (why) => fencedBecause.push(why));
}

async function nonceInStore(host: OwnHostRecord): Promise<string | undefined> {
  return (await readHostRecord(workspace.inner, host.identity.id))?.value.nonce;
}

test("every beat carries a fresh nonce", async () => {
  const host = await fastHost();
  const seen = new Set<string | undefined>();
  await until("five nonces were seen", async () => seen.add(await nonceInStore(host)).size >= 5);
  expect(host.fenced).toBe(false);
});

test.each<StoreFault>(["lost", "unanswered", "late", "doubled"])(
  "a beat that is %s does not fence its host, and neither do those after it",
  async (fault) => {
    const host = await quietHost();
    const { store } = workspace;
    store.fail("put", "hosts/", fault);
    await host.drain();
    await store.deliverLate();
    for (let beats = 0; beats < 3; beats += 1) await host.drain();
    expect(fencedBecause).toEqual([]);
    expect(await workspace.hostState(host.identity.id)).toBe("draining");
    await host.proof();
  },
);

test("a beat that comes late, between two others, does not fence its host", async () => {
  const host = await quietHost();
  const { store } = workspace;
  store.fail("put", "hosts/", "late");
  // Neither its answer nor the read that would settle it comes back, twice.
  store.fail("get", "hosts/", "lost");
  store.fail("get", "hosts/", "lost");
  await host.drain();
  await store.deliverLate();
  await host.drain();
  await host.drain();
  expect(fencedBecause).toEqual([]);
  await host.proof();
});

test("a create whose answer is lost is known by its nonce, and a late double of it changes nothing", async () => {
  workspace.store.fail("put", "hosts/", "unanswered");
  const host = await quietHost();
  await expect(workspace.inner.put(hostKey(host.identity.id), "{}", { ifNoneMatch: "*" })).rejects.toThrow(
    PreconditionFailedError,
  );
  await host.drain();
  expect(fencedBecause).toEqual([]);
});

test("another's nonce fences, at the next beat", async () => {
  const host = await quietHost();
  const found = await readHostRecord(workspace.inner, host.identity.id);
  const foreign = { ...found?.value, nonce: "someone else's" };
  await workspace.inner.put(hostKey(host.identity.id), JSON.stringify(foreign));
  await host.drain();
  expect(fencedBecause).toEqual(["its record was changed by another host"]);
  await expect(host.proof()).rejects.toThrow(FencedError);
});

test("a missing record fences, at the next beat and at the next proof", async () => {
  const beaten = await quietHost();
  await workspace.inner.delete(hostKey(beaten.identity.id));
  await beaten.drain();
  expect(beaten.fenced).toBe(true);
  const asked = await quietHost();
  await workspace.inner.delete(hostKey(asked.identity.id));
  await expect(asked.proof()).rejects.toThrow(FencedError);
  expect(fencedBecause).toEqual(["its record is gone", "its record is gone"]);
});

test("a fenced host does not beat its record back to life", async () => {
  const host = await fastHost();
  await until("no beat came between", () => fence(host));
  await until("the host has noticed", () => host.fenced);
  const nonce = await nonceInStore(host);
  await sleep(50);
  await host.drain();
  expect(await workspace.hostState(host.identity.id)).toBe("fenced");
  expect(await nonceInStore(host)).toBe(nonce);
  expect(fencedBecause).toHaveLength(1);
});

test("a store that is down for long fences nobody; the host shows it, and goes on", async () => {
  const host = await fastHost();
  workspace.store.down = true;
  await until("the trouble shows", () => host.trouble !== null);
  await sleep(100);
  await expect(host.proof()).rejects.toThrow("not known");
  expect(host.fenced).toBe(false);
  const { lastBeatAt } = host;
  workspace.store.down = false;
  await until("it beats again", () => host.lastBeatAt > lastBeatAt);
  await host.proof();
  expect(host.trouble).toBe(null);
  expect(fencedBecause).toEqual([]);
});

test("a store that takes no writes shows as trouble, although it can be read", async () => {
  const host = await quietHost();
  workspace.store.fail("put", "hosts/", "lost");
  await host.drain();
  await host.proof();
  expect(host.trouble).toContain("not known");
  await host.drain();
  expect(host.trouble).toBe(null);
});

test("a proof that failed is tried again by the next beat, so that the trouble does not outlast its cause", async () => {
  const host = await quietHost();
  workspace.store.down = true;
  await expect(host.proof()).rejects.toThrow("not known");
  workspace.store.down = false;
  expect(host.trouble).not.toBe(null);
  await host.drain();
  expect(host.trouble).toBe(null);
});

test("a fence between asking for a proof and sending it is seen", async () => {
  const host = await quietHost();
  const read = workspace.store.hold("get", "hosts/");
  const proof = host.proof();
  await read.arrived;
  await fence(host);
  read.letThrough();
  await expect(proof).rejects.toThrow(FencedError);
  expect(fencedBecause).toEqual(["another host took over"]);
});

test("many proofs of one turn are one read of the store", async () => {
  const host = await quietHost();
  const before = workspace.store.count("get", "hosts/");
  await Promise.all(Array.from({ length: 50 }, () => host.proof()));
  expect(workspace.store.count("get", "hosts/")).toBe(before + 1);
});

test("a host that beats while it is being fenced lives", async () => {
  const host = await quietHost();
  const write = workspace.store.hold("put", "hosts/");
  const fencing = fenceNow(workspace.store, host.identity.id);
  await write.arrived;
  await host.drain();
  write.letThrough();
  expect(await fencing).toBe(false);
  await host.proof();
});

test("of a beat and a fence that meet, exactly one wins", async () => {
  for (let round = 0; round < 20; round += 1) {
    const host = await quietHost();
    const [fenced] = await Promise.all([fence(host), host.drain()]);
    await host.proof().then(
      () => expect(fenced).toBe(false),
      () => expect(fenced).toBe(true),
    );
  }
});

test("a fence whose answer is lost is known by its nonce; one that cannot be known is an error", async () => {
  const host = await quietHost();
  workspace.store.fail("put", "hosts/", "unanswered");
  expect(await fence(host)).toBe(true);
  const other = await quietHost();
  workspace.store.fail("put", "hosts/", "lost");
  await expect(fence(other)).rejects.toThrow("not known");
  await other.proof();
});

test("a fence that comes late still holds", async () => {
  const host = await quietHost();
  workspace.store.fail("put", "hosts/", "late");
  await expect(fence(host)).rejects.toThrow("not known");
  await host.proof();
  await workspace.store.deliverLate();
  await expect(host.proof()).rejects.toThrow(FencedError);
});

test("what a newer version wrote into a record survives its fencing", async () => {
  const host = await quietHost();
  const found = await readHostRecord(workspace.inner, host.identity.id);
  await workspace.inner.put(hostKey(host.identity.id), JSON.stringify({ ...found?.value, load: [1, 2] }));
  await fence(host);
  const record = await readHostRecord(workspace.inner, host.identity.id);
  expect(record?.value).toMatchObject({ state: "fenced", load: [1, 2] });
});

test("a stopped host beats no more", async () => {
  const host = await fastHost();
  await host.stop();
  const nonce = await nonceInStore(host);
  await sleep(60);
  expect(await nonceInStore(host)).toBe(nonce);
});

test("no order of lost, late and doubled beats fences a host, and no proof passes once it is fenced", async () => {
  await assert(
    asyncProperty(integer(), async (seed) => {
      const random = randomFrom(seed);
      const host = await quietHost();
      const rates = { lost: 0.1, unanswered: 0.15, late: 0.15, doubled: 0.1 };
      workspace.store.atRandom(seed, rates);
      let fenced = false;
      for (let moves = 0; moves < 20 && !fenced; moves += 1) {
        const move = random();
        if (move < 0.5) await host.drain();
        else if (move < 0.7) await host.proof().catch(() => {});
        else if (move < 0.9) await workspace.store.deliverLate();
        else fenced = random() < 0.2 && (await fence(host).catch(() => false));
        fenced ||= (await workspace.hostState(host.identity.id)) === "fenced";
        expect(host.fenced && !fenced).toBe(false);
      }
      workspace.store.atRandom(0, {});
      await workspace.store.deliverLate();
      const state = await workspace.hostState(host.identity.id);
      const proof = await host.proof().then(
        () => "live",
        (error: unknown) => (error instanceof FencedError ? "fenced" : error),
      );
      expect(proof).toBe(state === "fenced" ? "fenced" : "live");
      await host.stop();
    }),
    { numRuns: 60 },
  );
});

function fence(host: OwnHostRecord): Promise<boolean> {
  return fenceNow(workspace.store, host.identity.id);
}
