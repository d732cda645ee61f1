import { expect, test } from "vitest";
import { openStore, StoreSettingError } from "../../app/storage/open-store.ts";
import type { ObjectStore } from "../../app/storage/object-store.ts";

const credentials = { accessKeyId: "key-id", secretAccessKey: "very-secret" };
const open = (url: string): ObjectStore => openStore(url, { credentials, baseDir: "/base" });

test.each([
  ["file:.holdfast/store", "file:/base/.holdfast/store"],
  ["file:/var/lib/holdfast", "file:/var/lib/holdfast"],
  ["file:///var/lib/holdfast", "file:/var/lib/holdfast"],
  ["file:../a b%20c", "file:/a b%20c"],
])("%s is the folder %s", (url, description) => {
  expect(open(url).description).toBe(description);
});

test.each([
  ["s3://bucket", "s3://bucket at bucket.s3.us-east-1.amazonaws.com"],
  ["s3://bucket/a/b/?region=eu-central-1", "s3://bucket/a/b at bucket.s3.eu-central-1.amazonaws.com"],
  ["s3://dotted.bucket", "s3://dotted.bucket at s3.us-east-1.amazonaws.com"],
  ["s3://bucket?endpoint=http://127.0.0.1:9000", "s3://bucket at 127.0.0.1:9000"],
  ["s3://bucket?endpoint=https://t3.storage.dev", "s3://bucket at bucket.t3.storage.dev"],
  ["s3://bucket?endpoint=https://t3.storage.dev&forcePathStyle=true", "s3://bucket at t3.storage.dev"],
])("%s is %s", (url, description) => {
  expect(open(url).description).toBe(description);
});

test.each([
  [
    "s3://bucket/p%20q?endpoint=http%3A%2F%2F127.0.0.1%3A9000&region=r&forcePathStyle=true",
    "s3://bucket/p%20q/tenants/t/e1?endpoint=http%3A%2F%2F127.0.0.1%3A9000&region=r&forcePathStyle=true",
  ],
  [
    "s3://bucket?endpoint=https://fly.storage.tigris.dev",
    "s3://bucket/tenants/t/e1?endpoint=https%3A%2F%2Ffly.storage.tigris.dev&region=auto&forcePathStyle=false",
  ],
  ["s3://bucket", "s3://bucket/tenants/t/e1?region=us-east-1&forcePathStyle=false"],
])("Litestream finds the replicas of %s with nothing left to its defaults", (url, replica) => {
  expect(open(url).replicaUrl("tenants/t/e1")).toBe(replica);
});

test("a region that the URL does not name comes from the settings", () => {
  const store = openStore("s3://bucket", { credentials, baseDir: "/", region: "eu-west-1" });
  expect(store.description).toContain("eu-west-1");
});

test.each([
  ["", /neither a folder/],
  ["/var/lib/holdfast", /neither a folder/],
  ["http://bucket", /neither a folder/],
  ["file:", /names no folder/],
  ["file://host/folder", /takes no host/],
  ["s3:", /needs a bucket/],
  ["s3:bucket", /needs a bucket/],
  ["s3:///prefix", /needs a bucket/],
  ["s3://Bucket_1", /bucket's name/],
  ["s3://bucket/a//b", /prefix/],
  ["s3://bucket/%zz", /prefix/],
  [`s3://bucket/${"a".repeat(121)}`, /prefix/],
  ["s3://bucket?endpoint=t3.storage.dev", /endpoint= must be an origin/],
  ["s3://bucket?endpoint=https://t3.storage.dev/bucket", /endpoint= must be an origin/],
  ["s3://bucket?endpoint=https://key:very-secret@t3.storage.dev", /endpoint= must be an origin/],
  ["s3://bucket?region=", /region= is empty/],
  ["s3://bucket?region=a&region=b", /region= is given twice/],
  ["s3://bucket?region=a/b", /region= must be/],
  ["s3://bucket?forcePathStyle=yes", /forcePathStyle= must be true or false/],
  ["s3://bucket?force-path-style=true", /unknown parameter "force-path-style"/],
  ["s3://bucket#at=now", /"#"/],
  ["s3://key-id:very-secret@bucket", /credentials do not belong in the URL/],
])("%j is refused in one line that names the setting", (url, reason) => {
  expect(() => open(url)).toThrow(StoreSettingError);
  expect(() => open(url)).toThrow(reason);
  expect(() => open(url)).toThrow(/^HOLDFAST_STORE: [^\n]*$/);
  expect(() => open(url)).not.toThrow(/very-secret/);
});

test("a bucket without credentials is refused with the names of the variables", () => {
  const missing = /AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY/;
  expect(() => openStore("s3://bucket", { baseDir: "/" })).toThrow(missing);
  const empty = { accessKeyId: "", secretAccessKey: "x" };
  expect(() => openStore("s3://bucket", { baseDir: "/", credentials: empty })).toThrow(missing);
});
