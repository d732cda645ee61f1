import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { OpeningQueue } from "../../app/host/opening-queue.ts";
import { TenantSlot } from "../../app/host/tenant-slot.ts";
import { DrainingError } from "../../app/storage/errors.ts";
import { TenantWorkspace } from "../support/storage.ts";

let workspace: TenantWorkspace;
let slot: TenantSlot;

beforeEach(async () => {
  workspace = await TenantWorkspace.open();
  slot = new TenantSlot("acme", {
    agents: new Map(),
    durability: "replicated",
    log: workspace.stores.log,
    storage: await workspace.ports(),
    openings: new OpeningQueue(
      {
        places: 10,
        atOnce: { claim: 10, unpark: 10 },
        maxWaiting: 10,
        maxWaitMs: { client: 10_000, background: 10_000 },
      },
      () => {},
    ),
    onUnused: () => {},
    onWakesUnknown: () => {},
    onOpened: () => {},
    onParked: () => {},
    onReleased: () => {},
    onElsewhere: () => {},
  });
});

afterEach(async () => {
  vi.useRealTimers();
  await slot.end(0);
  await workspace.close();
});

async function failToOpen(): Promise<number> {
  const before = workspace.store.count("get", "tenants/acme/");
  await expect(slot.use(async () => {})).rejects.toThrow("not known");
  return workspace.store.count("get", "tenants/acme/") - before;
}

test("openings that fail come ever more rarely, up to every 30 s, and a success forgets them", async () => {
  vi.useFakeTimers({ toFake: ["Date"] });
  workspace.store.down = true;
  const waits: number[] = [];
  let failedAt = Date.now();
  await failToOpen();
  while (waits.length < 9) {
    vi.setSystemTime(Date.now() + 500);
    if ((await failToOpen()) === 0) continue;
    waits.push(Date.now() - failedAt);
    failedAt = Date.now();
  }
  expect(waits).toEqual([500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000]);
  workspace.store.down = false;
  vi.setSystemTime(Date.now() + 30_000);
  await slot.use(async () => {});
  expect(slot.open?.file.epoch).toBe(1);
});

test("a tenant that could not be opened is forgotten when nobody has asked for it for long", async () => {
  vi.useFakeTimers({ toFake: ["Date"] });
  workspace.store.down = true;
  await failToOpen();
  expect(slot.isForgettable).toBe(false);
  vi.setSystemTime(Date.now() + 29_000);
  expect(slot.isForgettable).toBe(false);
  vi.setSystemTime(Date.now() + 2_000);
  expect(slot.isForgettable).toBe(true);
});

test("a tenant is not forgotten while it is open, used or not", async () => {
  expect(slot.isForgettable).toBe(true);
  await slot.use(async () => expect(slot.isForgettable).toBe(false));
  expect(slot.isForgettable).toBe(false);
});

test("what an epoch met while it was being opened ends it when it is open", async () => {
  const claim = workspace.store.hold("put", "tenants/acme/");
  const using = slot.use(async () => {});
  await claim.arrived;
  slot.fence(new DrainingError("This host was fenced"));
  claim.letThrough();
  await expect(using).rejects.toThrow("This host was fenced");
  expect(slot.open).toBe(null);
});
