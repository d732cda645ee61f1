import { afterEach, beforeEach, expect, test } from "vitest";
import {
  putRecord,
  readHostRecord,
  readTenantRecord,
  RecordChangedError,
  UnreadableRecordError,
} from "../../app/storage/records.ts";
import { StoreUnavailableError } from "../../app/storage/object-store.ts";
import { StoreWorkspace } from "../support/storage.ts";

let workspace: StoreWorkspace;

beforeEach(async () => {
  workspace = await StoreWorkspace.open();
});

afterEach(() => workspace.close());

test("a write whose answer was lost is known by its nonce", async () => {
  const { store } = workspace;
  store.fail("put", "record", "unanswered");
  const made = await putRecord(store, "record", { nonce: "a" }, { ifNoneMatch: "*" });
  expect(made.etag).toBe((await workspace.inner.get("record"))?.etag);
  store.fail("put", "record", "doubled");
  const next = await putRecord(store, "record", { nonce: "b" }, { ifMatch: made.etag });
  expect(next.etag).toBe((await workspace.inner.get("record"))?.etag);
});

test("a write that may still come is not taken for refused", async () => {
  const { store } = workspace;
  store.fail("put", "record", "late");
  const lost = putRecord(store, "record", { nonce: "a" }, { ifNoneMatch: "*" });
  await expect(lost).rejects.toThrow(StoreUnavailableError);
  await store.deliverLate();
  const refused = putRecord(store, "record", { nonce: "b" }, { ifNoneMatch: "*" });
  await expect(refused).rejects.toThrow(RecordChangedError);
});

test("a write that can be neither made nor read back is not known", async () => {
  const { store } = workspace;
  store.down = true;
  const lost = putRecord(store, "record", { nonce: "a" }, { ifNoneMatch: "*" });
  await expect(lost).rejects.toThrow(StoreUnavailableError);
});

test.each([
  ["no JSON", "{"],
  ["no record", "[]"],
  ["a field of another type", JSON.stringify({ nonce: 1 })],
])("a record that is %s is an error that names it, not a missing record", async (_what, body) => {
  await workspace.inner.put("hosts/h.json", body);
  await workspace.inner.put("tenants/t/tenant.json", body);
  await expect(readHostRecord(workspace.store, "h")).rejects.toThrow(UnreadableRecordError);
  await expect(readHostRecord(workspace.store, "h")).rejects.toThrow(/hosts\/h\.json/);
  await expect(readTenantRecord(workspace.store, "t")).rejects.toThrow(/tenants\/t\/tenant\.json/);
});

test("a record of a fork is refused as long as forks are not understood", async () => {
  const record = { nonce: "n", epoch: 1, host: null, region: "r", lineage: [], erasedAt: null };
  const forkOf = { store: "s3://parent", tenant: "t", epoch: 3, txid: 9 };
  await workspace.inner.put("tenants/t/tenant.json", JSON.stringify({ ...record, forkOf }));
  await expect(readTenantRecord(workspace.store, "t")).rejects.toThrow(UnreadableRecordError);
});
