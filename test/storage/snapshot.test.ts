import { readFile, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { openTenant, type OpenTenant, type StoragePorts } from "../../app/storage/open-tenant.ts";
import { openSnapshot, type Snapshot } from "../../app/storage/snapshot.ts";
import { tenantCodec } from "../../app/storage/tenant-key.ts";
import { crash, readFacts, TenantWorkspace, writeFact } from "../support/storage.ts";

const masterKeys = [{ id: "k", key: new Uint8Array(32).fill(1) }];

let workspace: TenantWorkspace;
let tenants = 0;
/** Each test has a tenant of its own. */
let id: string;
let losses: string[];

beforeAll(async () => {
  workspace = await TenantWorkspace.open();
});

afterAll(() => workspace.close());

beforeEach(() => {
  id = `tenant-${(tenants += 1)}`;
  losses = [];
});

async function open(changes: Partial<StoragePorts> = {}): Promise<OpenTenant> {
  const onSnapshotLoss = (_tenant: string, why: string): void => void losses.push(why);
  return workspace.keep(
    await openTenant(id, await workspace.ports({ masterKeys, onSnapshotLoss, ...changes })),
  );
}

async function write(tenant: OpenTenant, fact: string): Promise<void> {
  await writeFact(tenant, fact);
  await tenant.durable();
}

/** One life of the tenant, given away properly, and then a Machine that has nothing of it. */
async function liveAndRelease(fact: string, changes: Partial<StoragePorts> = {}): Promise<void> {
  const tenant = await open(changes);
  await write(tenant, fact);
  await tenant.release(async () => {});
  await wipe();
}

async function wipe(): Promise<void> {
  await rm(join(workspace.dataFolder, id), { recursive: true, force: true });
}

async function named(): Promise<Snapshot> {
  return (await workspace.stores.tenantRecord(id)).snapshot as Snapshot;
}

async function bodyOf(key: string): Promise<Uint8Array> {
  return (await workspace.stores.inner.get(key))?.body ?? new Uint8Array();
}

const noRestore: StoragePorts["restore"] = async () => {
  throw new Error("Litestream was asked");
};

test("a tenant that was released opens elsewhere from its snapshot, byte for byte, and Litestream is not asked", async () => {
  const first = await open();
  await write(first, "a");
  const { path } = first;
  await first.release(async () => {});
  const given = await readFile(path);
  const { lineage } = await workspace.stores.tenantRecord(id);
  await wipe();
  const second = await open({ restore: noRestore });
  expect(second.report).toMatchObject({ source: "snapshot", from: { epoch: 1, txid: lineage[0]?.txid } });
  expect([second.rounds.isCovered, await readFacts(second)]).toEqual([true, ["a"]]);
  expect((await readFile(second.path)).equals(given)).toBe(true);
  expect(losses).toEqual([]);
});

test("what a tenant writes after it opened from a snapshot is a history of its own, and whole", async () => {
  await liveAndRelease("a");
  const second = await open();
  await write(second, "b");
  await crash(second);
  await wipe();
  const third = await open();
  expect([third.report.source, third.report.from.epoch]).toEqual(["replica", 2]);
  expect(await readFacts(third)).toEqual(["a", "b"]);
});

test("snapshot and key are read while the claim is on its way, and nothing is asked of the store after it", async () => {
  await liveAndRelease("a");
  const hostRecord = await workspace.stores.host();
  const claim = workspace.store.hold("put", `tenants/${id}/tenant.json`);
  const before = workspace.store.calls.length;
  const opening = open({ hostRecord, restore: noRestore });
  await claim.arrived;
  const sent = workspace.store.calls.slice(before).map(({ verb, key }) => `${verb} ${key}`);
  expect(sent.toSorted()).toEqual([
    `get keys/${id}.json`,
    `get tenants/${id}/snapshots/e1`,
    `get tenants/${id}/tenant.json`,
    `put tenants/${id}/tenant.json`,
  ]);
  claim.letThrough();
  expect((await opening).report.source).toBe("snapshot");
  expect(workspace.store.calls.length - before).toBe(sent.length);
});

test("a claim that is refused uses nothing of what was read meanwhile", async () => {
  await liveAndRelease("a");
  const claim = workspace.store.hold("put", `tenants/${id}/tenant.json`);
  const late = open();
  await claim.arrived;
  const inTime = await open();
  await write(inTime, "b");
  claim.letThrough();
  await expect(late).rejects.toThrow(/claimed by another host just now/);
  expect(await readFacts(inTime)).toEqual(["a", "b"]);
});

interface Damage {
  readonly what: string;
  readonly why: RegExp;
  readonly make: (snapshot: Snapshot) => Promise<unknown>;
}

function rename(changes: Readonly<Record<string, unknown>>): Damage["make"] {
  return (snapshot) =>
    workspace.stores.editRecord(id, (record) => ({ ...record, snapshot: { ...snapshot, ...changes } }));
}

const damages: readonly Damage[] = [
  { what: "is gone", why: /is gone/, make: ({ key }) => workspace.stores.inner.delete(key) },
  {
    what: "has one bit changed",
    why: /not what was put there/,
    async make({ key }) {
      const body = Buffer.from(await bodyOf(key));
      body[body.length >> 1] = (body[body.length >> 1] ?? 0) ^ 1;
      await workspace.stores.inner.put(key, body);
    },
  },
  { what: "has a form that is not known", why: /form is not known/, make: rename({ format: 2 }) },
  { what: "is of another txid than the epoch's end", why: /ended at txid/, make: rename({ txid: 900 }) },
  { what: "is sealed with another key", why: /unknown key "9"/, make: rename({ keyId: "9" }) },
  { what: "says to be clear and is sealed", why: /./, make: rename({ keyId: null }) },
];

test.each(damages)("a snapshot that $what is told of, and the replica is used", async ({ why, make }) => {
  await liveAndRelease("a");
  await make(await named());
  const second = await open();
  expect([second.report.source, await readFacts(second)]).toEqual(["replica", ["a"]]);
  expect(losses).toEqual([expect.stringMatching(why)]);
});

test("a snapshot that cannot be read in time is no reason to fail", async () => {
  await liveAndRelease("a");
  workspace.store.fail("get", `tenants/${id}/snapshots/`, "lost");
  expect((await open()).report.source).toBe("replica");
});

test("a snapshot never stands for data that is newer: once a later epoch was marked, it is not looked at", async () => {
  await liveAndRelease("a");
  const second = await open();
  await write(second, "b");
  await crash(second);
  await wipe();
  expect((await named()).epoch).toBe(1);
  const before = workspace.store.count("get", `tenants/${id}/snapshots/`);
  const third = await open();
  expect([third.report.source, await readFacts(third)]).toEqual(["replica", ["a", "b"]]);
  expect([workspace.store.count("get", `tenants/${id}/snapshots/`) - before, losses]).toEqual([0, []]);
});

test("a snapshot is bound to its tenant, epoch and txid", async () => {
  await liveAndRelease("a");
  const snapshot = await named();
  const body = await bodyOf(snapshot.key);
  const codec = await tenantCodec(workspace.stores.inner, id, { masterKeys, sealedWith: "1" });
  openSnapshot(id, snapshot, { body, codec });
  const changed = { ...snapshot, txid: snapshot.txid + 1 };
  expect(() => openSnapshot(id, changed, { body, codec })).toThrow(/does not open/);
  expect(() => openSnapshot("other", snapshot, { body, codec })).toThrow(/does not open/);
});

test("without a key a snapshot is clear, and stays readable when there is one later", async () => {
  await liveAndRelease("a", { masterKeys: [] });
  expect((await named()).keyId).toBe(null);
  const second = await open({ restore: noRestore });
  expect([second.report.source, await readFacts(second)]).toEqual(["snapshot", ["a"]]);
});

test("an epoch that wrote nothing leaves the snapshot of the one before it, which stays good", async () => {
  await liveAndRelease("a");
  for (let life = 0; life < 3; life += 1) {
    const tenant = await open({ restore: noRestore });
    expect(tenant.report.source).toBe("snapshot");
    await tenant.release(async () => {});
    await wipe();
  }
  expect((await workspace.stores.inner.list(`tenants/${id}/snapshots/`)).length).toBe(1);
});

test("a file that is too large leaves none, and takes the name of an older one away", async () => {
  await liveAndRelease("a");
  const second = await open();
  await second.connection.write((on) =>
    on.run("INSERT INTO meta (key, value) VALUES ('large', randomblob(5000000))"),
  );
  await second.durable();
  expect((await stat(second.path)).size).toBeLessThan(32 * 1024 * 1024);
  await second.release(async () => {});
  expect(await named()).toBe(null);
  await wipe();
  expect(await readFacts(await open())).toEqual(["a"]);
});

test("a snapshot of more than a thread's worth is packed beside the event loop, and is whole", async () => {
  const first = await open();
  await first.connection.write((on) =>
    on.run("INSERT INTO meta (key, value) VALUES ('large', randomblob(1500000))"),
  );
  await first.durable();
  await first.release(async () => {});
  const given = await readFile(first.path);
  await wipe();
  const second = await open({ restore: noRestore });
  expect((await readFile(second.path)).equals(given)).toBe(true);
});

test("a snapshot that cannot be put keeps nobody from releasing, and is not named", async () => {
  const first = await open();
  await write(first, "a");
  workspace.store.fail("put", `tenants/${id}/snapshots/`, "lost");
  await first.release(async () => {});
  expect((await workspace.stores.tenantRecord(id)).host).toBe(null);
  expect([await named(), losses]).toEqual([null, [expect.stringContaining("could not be left")]]);
  await wipe();
  expect(await readFacts(await open())).toEqual(["a"]);
});

test("a local file is used without a look at the snapshot", async () => {
  const first = await open();
  await write(first, "a");
  await first.release(async () => {});
  const again = await open();
  expect(again.report.source).toBe("local");
  expect(workspace.store.count("get", `tenants/${id}/snapshots/`)).toBe(0);
});
