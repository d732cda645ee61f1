import { randomBytes } from "node:crypto";
import { afterEach, beforeEach, expect, test } from "vitest";
import { TenantUnavailableError } from "../../app/storage/errors.ts";
import { StoreUnavailableError, type ObjectStore } from "../../app/storage/object-store.ts";
import { tenantCodec, type MasterKeys } from "../../app/storage/tenant-key.ts";
import type { StoreFault } from "../fakes/faulty-store.ts";
import { StoreWorkspace } from "../support/storage.ts";

let workspace: StoreWorkspace;

beforeEach(async () => {
  workspace = await StoreWorkspace.open();
});

afterEach(() => workspace.close());

const [oldKey, newKey, wrongKey] = ["old", "new", "wrong"].map((id) => ({ id, key: randomBytes(32) }));
const [old, current, wrong] = [oldKey, newKey, wrongKey] as [
  MasterKeys[number],
  MasterKeys[number],
  MasterKeys[number],
];

const place = "runs/1/input";

const codecOf = (store: ObjectStore, tenantId: string, masterKeys: MasterKeys) =>
  tenantCodec(store, tenantId, { masterKeys, sealedWith: null });

test("values that are sealed are not taken for clear ones, nor their key for one that was never made", async () => {
  const sealedWith = "1";
  await expect(tenantCodec(workspace.store, "acme", { masterKeys: [], sealedWith })).rejects.toThrow(
    /HOLDFAST_MASTER_KEY is not set/,
  );
  await expect(tenantCodec(workspace.store, "acme", { masterKeys: [old], sealedWith })).rejects.toThrow(
    /keys\/acme\.json is gone/,
  );
  expect(await workspace.store.list("keys/")).toEqual([]);
});

test("without a master key values stay clear, and no key is made", async () => {
  const codec = await codecOf(workspace.store, "acme", []);
  expect(codec.seal({ a: 1 }, place)).toEqual({ keyId: null, data: '{"a":1}' });
  expect(workspace.store.calls).toEqual([]);
});

test("a tenant's key is made once, however many open it at once", async () => {
  const codecs = await Promise.all(Array.from({ length: 12 }, () => codecOf(workspace.store, "acme", [old])));
  const sealed = codecs.map((codec, index) => codec.seal(index, place));
  for (const codec of codecs)
    expect(sealed.map((value) => codec.open(value, place))).toEqual(codecs.map((_codec, index) => index));
});

test("two tenants have different keys, and a key moved to another tenant does not open", async () => {
  const acme = await codecOf(workspace.store, "acme", [old]);
  const other = await codecOf(workspace.store, "other", [old]);
  expect(() => other.open(acme.seal("secret", place), place)).toThrow(/does not open/);
  const record = await workspace.inner.get("keys/acme.json");
  await workspace.inner.put("keys/moved.json", record?.body ?? "");
  await expect(codecOf(workspace.store, "moved", [old])).rejects.toThrow(/does not open with master key/);
});

test.each<StoreFault>(["unanswered", "doubled"])(
  "a key whose put is %s is the tenant's key ever after",
  async (fault) => {
    workspace.store.fail("put", "keys/", fault);
    const first = await codecOf(workspace.store, "acme", [old]);
    const later = await codecOf(workspace.store, "acme", [old]);
    expect(later.open(first.seal("kept", place), place)).toBe("kept");
  },
);

test("a key that may still come is not used, and the one that comes first stays", async () => {
  workspace.store.fail("put", "keys/", "late");
  await expect(codecOf(workspace.store, "acme", [old])).rejects.toThrow(StoreUnavailableError);
  const put = workspace.store.hold("put", "keys/");
  const second = codecOf(workspace.store, "acme", [old]);
  await put.arrived;
  await workspace.store.deliverLate();
  put.letThrough();
  const sealed = (await second).seal("kept", place);
  expect((await codecOf(workspace.store, "acme", [old])).open(sealed, place)).toBe("kept");
});

test("while master keys rotate, each of them opens what it wrapped, and the first wraps", async () => {
  const before = (await codecOf(workspace.store, "acme", [old])).seal("kept", place);
  const rotated = await codecOf(workspace.store, "acme", [current, old]);
  expect(rotated.open(before, place)).toBe("kept");
  await codecOf(workspace.store, "fresh", [current, old]);
  await codecOf(workspace.store, "fresh", [current]);
  await expect(codecOf(workspace.store, "acme", [current])).rejects.toThrow(
    /wrapped by master key "old", which HOLDFAST_MASTER_KEY does not hold/,
  );
});

test("a wrong master key is a clear error of that tenant, and changes nothing", async () => {
  await codecOf(workspace.store, "acme", [old]);
  const before = await workspace.inner.get("keys/acme.json");
  const opening = codecOf(workspace.store, "acme", [{ ...wrong, id: "old" }]);
  await expect(opening).rejects.toThrow(TenantUnavailableError);
  await expect(opening).rejects.toThrow(/does not open with master key "old"/);
  expect(await workspace.inner.get("keys/acme.json")).toEqual(before);
});

test.each(["{", "{}", '{"keys":[]}', '{"keys":[{"id":"1","masterKeyId":"old","wrapped":"!"}]}'])(
  "a key record that reads %s is a clear error, and no second key is made",
  async (body) => {
    await workspace.inner.put("keys/acme.json", body);
    await expect(codecOf(workspace.store, "acme", [old])).rejects.toThrow(TenantUnavailableError);
    expect(workspace.store.count("put", "keys/")).toBe(0);
  },
);
