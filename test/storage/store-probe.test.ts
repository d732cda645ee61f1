import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { DirectoryStore } from "../../app/storage/directory-store.ts";
import { PreconditionFailedError } from "../../app/storage/object-store.ts";
import type { PutCondition } from "../../app/storage/object-store.ts";
import { probeMarker, probeStore, UnfitStoreError } from "../../app/storage/store-probe.ts";
import { UnfitStore } from "../fakes/unfit-store.ts";

let folder = "";
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "holdfast-probe-test-"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

test.each([
  ["ignores-if-none-match", /a create \(If-None-Match\) of an object that exists was not refused/],
  ["ignores-if-match", /a stale update \(If-Match\) was not refused/],
  ["makes-missing-by-update", /an update \(If-Match\) of an object that does not exist made it/],
  ["keeps-its-tag", /an object kept its tag \(ETag\) when its content changed/],
] as const)(
  "a store that %s is refused by name, together with stores that work",
  async (unfitness, reason) => {
    const store = new UnfitStore(new DirectoryStore(folder), unfitness);
    const refusal: unknown = await probeStore(store).catch((error: unknown) => error);
    expect(refusal).toBeInstanceOf(UnfitStoreError);
    expect(String(refusal)).toMatch(reason);
    expect(String(refusal)).toContain(store.description);
    expect(String(refusal)).toContain("Tigris");
  },
);

test("an unfit store is not remembered as fit, and nothing stays behind in it", async () => {
  const store = new UnfitStore(new DirectoryStore(folder), "ignores-if-match");
  await expect(probeStore(store)).rejects.toThrow(UnfitStoreError);
  expect(await store.list("")).toEqual([]);
});

test("a store whose condition holds one put at a time only is refused by its concurrent creates", async () => {
  const inner = new DirectoryStore(folder);
  // Looks first and writes later, as a store does that checks conditions in its front end.
  const racy = new (class extends DirectoryStore {
    override async put(
      key: string,
      body: string,
      condition?: PutCondition,
    ): Promise<{ readonly etag: string }> {
      const found = await inner.get(key);
      if (condition?.ifNoneMatch !== undefined && found !== undefined) throw new PreconditionFailedError(key);
      if (condition?.ifMatch !== undefined && found?.etag !== condition.ifMatch)
        throw new PreconditionFailedError(key);
      return inner.put(key, body);
    }
  })(folder);
  await expect(probeStore(racy)).rejects.toThrow(
    /of 8 concurrent creates \(If-None-Match\) of one object \d won/,
  );
});

test("the marker is the last thing written, so a probe that was cut off is begun again", async () => {
  const written: string[] = [];
  const store = new (class extends DirectoryStore {
    override async put(
      key: string,
      body: string,
      condition?: PutCondition,
    ): Promise<{ readonly etag: string }> {
      const answer = await super.put(key, body, condition);
      written.push(key);
      return answer;
    }
  })(folder);
  await probeStore(store);
  expect(written.indexOf(probeMarker)).toBe(written.length - 1);
  expect(await store.list("")).toEqual([probeMarker]);
});
