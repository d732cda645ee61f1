import { randomBytes, randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { PreconditionFailedError } from "../../app/storage/object-store.ts";
import type { ObjectStore } from "../../app/storage/object-store.ts";
import { openStore } from "../../app/storage/open-store.ts";
import type { StoreSettings } from "../../app/storage/open-store.ts";
import { probeMarker, probeStore } from "../../app/storage/store-probe.ts";
import { StoreWorker } from "./store-worker.ts";

/** An empty store, and how any process opens it. */
export interface StoreUnderTest {
  readonly url: string;
  readonly settings: StoreSettings;
  close(): Promise<void>;
}

const processes = 8;
const rounds = 12;

/** What every ObjectStore keeps to. */
export function objectStoreContract(kind: string, start: () => Promise<StoreUnderTest>): void {
  describe(`object store: ${kind}`, { timeout: 120_000 }, () => {
    let subject: StoreUnderTest;
    let store: ObjectStore;
    beforeAll(async () => {
      subject = await start();
      store = openStore(subject.url, subject.settings);
    }, 120_000);
    afterAll(() => subject.close());

    /** A folder that no other test uses. */
    const folder = (): string => `t-${randomUUID()}`;
    const textOf = async (key: string): Promise<string | undefined> => {
      const found = await store.get(key);
      return found && Buffer.from(found.body).toString();
    };

    test("an object that was never put is not there", async () => {
      expect(await store.get(`${folder()}/none`)).toBeUndefined();
    });

    test("what was put is read again, with the tag that the put gave", async () => {
      const key = `${folder()}/a/b/c.json`;
      const { etag } = await store.put(key, '{"text":"grüße 🌿"}');
      const found = await store.get(key);
      expect(Buffer.from(found?.body ?? []).toString()).toBe('{"text":"grüße 🌿"}');
      expect(found?.etag).toBe(etag);
    });

    test("a put without condition replaces what is there and changes the tag", async () => {
      const key = `${folder()}/x`;
      const first = await store.put(key, "first");
      const second = await store.put(key, "second");
      expect(await textOf(key)).toBe("second");
      expect(second.etag).not.toBe(first.etag);
    });

    test("binary, large and empty bodies come back byte by byte", async () => {
      const key = `${folder()}/bytes`;
      const everyByte = Uint8Array.from({ length: 512 }, (_, index) => index % 256);
      for (const body of [everyByte, new Uint8Array(0), randomBytes(5 * 1024 * 1024)]) {
        await store.put(key, body);
        expect(Buffer.compare((await store.get(key))?.body ?? Buffer.from("none"), body)).toBe(0);
      }
    });

    test("a deleted object is gone, and deleting what is not there succeeds", async () => {
      const key = `${folder()}/deep/gone`;
      await store.put(key, "x");
      await store.delete(key);
      expect(await store.get(key)).toBeUndefined();
      expect(await store.list(key.split("/")[0] ?? "")).toEqual([]);
      await store.delete(key);
      await store.put(key, "back");
      expect(await textOf(key)).toBe("back");
    });

    test("a create succeeds once and leaves what is there alone afterwards", async () => {
      const key = `${folder()}/record`;
      await store.put(key, "first", { ifNoneMatch: "*" });
      await expect(store.put(key, "second", { ifNoneMatch: "*" })).rejects.toThrow(PreconditionFailedError);
      expect(await textOf(key)).toBe("first");
      await store.delete(key);
      await store.put(key, "third", { ifNoneMatch: "*" });
      expect(await textOf(key)).toBe("third");
    });

    test("a stale update is refused and changes nothing", async () => {
      const key = `${folder()}/record`;
      const first = await store.put(key, "first");
      const second = await store.put(key, "second", { ifMatch: first.etag });
      await expect(store.put(key, "stale", { ifMatch: first.etag })).rejects.toThrow(PreconditionFailedError);
      expect(await textOf(key)).toBe("second");
      expect((await store.get(key))?.etag).toBe(second.etag);
    });

    test("an update of a missing object is refused and makes none", async () => {
      const key = `${folder()}/record`;
      const { etag } = await store.put(key, "x");
      await store.delete(key);
      await expect(store.put(key, "y", { ifMatch: etag })).rejects.toThrow(PreconditionFailedError);
      expect(await store.get(key)).toBeUndefined();
    });

    test("a list holds the keys with the prefix, whole and in the order of their bytes", async () => {
      const own = folder();
      const names = ["a-b", "a/b", "a0", "a/c/d", "b", "B", "ab", "é", "～", "🌿"];
      for (const name of names) await store.put(`${own}/${name}`, name);
      const sorted = ["B", "a-b", "a/b", "a/c/d", "a0", "ab", "b", "é", "～", "🌿"].map(
        (name) => `${own}/${name}`,
      );
      expect(await store.list(`${own}/`)).toEqual(sorted);
      expect(await store.list(own)).toEqual(sorted);
      expect(await store.list(`${own}/a/`)).toEqual([`${own}/a/b`, `${own}/a/c/d`]);
      expect(await store.list(`${own}/a/c`)).toEqual([`${own}/a/c/d`]);
      expect(await store.list(`${own}/none/at/all`)).toEqual([]);
      expect(await store.list("")).toEqual(expect.arrayContaining(sorted));
    });

    test("keys with unusual characters are put, read, listed and deleted as they are", async () => {
      const own = folder();
      const names = [
        "a b",
        " lead",
        "trail ",
        "a+b",
        "a%2Fb",
        "%",
        "100%25",
        "a&b=c;d",
        "<k>&amp;",
        '"quoted"',
        "it's",
        "(x)!*~",
        "#hash",
        "?query",
        "a:b@c,d",
        "$[x]{y}^`|",
        "0012",
        "&#39;",
        "&amp;lt;",
        "true",
        ".hidden",
        "...",
        "ünï/cödé",
        "2026-11-02T10:15",
      ];
      for (const name of names) await store.put(`${own}/${name}`, name, { ifNoneMatch: "*" });
      const listed = await store.list(`${own}/`);
      expect(new Set(listed)).toEqual(new Set(names.map((name) => `${own}/${name}`)));
      for (const name of names) {
        expect(await textOf(`${own}/${name}`)).toBe(name);
        expect(await store.list(`${own}/${name}`)).toContain(`${own}/${name}`);
        await store.delete(`${own}/${name}`);
      }
      expect(await store.list(`${own}/`)).toEqual([]);
    });

    test("keys that could leave the store or that it could not carry are refused", async () => {
      const keys = [
        "",
        "/a",
        "a/",
        "a//b",
        "..",
        "a/../b",
        "./a",
        "a\0b",
        "a\nb",
        "a\\b",
        "\ud800",
        "x".repeat(201),
      ];
      for (const key of keys) {
        await expect(store.put(key, "x")).rejects.toThrow(TypeError);
        await expect(store.get(key)).rejects.toThrow(TypeError);
        await expect(store.delete(key)).rejects.toThrow(TypeError);
      }
      for (const prefix of ["/", "../", "a/../", "a//"])
        await expect(store.list(prefix)).rejects.toThrow(TypeError);
    });

    test("a list of more than two pages is complete", async () => {
      const own = folder();
      const expected = Array.from(
        { length: 2_100 },
        (_, index) => `${own}/k${String(index).padStart(5, "0")}`,
      );
      const waiting = expected.toReversed();
      const putAll = async (): Promise<void> => {
        for (let key = waiting.pop(); key !== undefined; key = waiting.pop()) await store.put(key, "x");
      };
      await Promise.all(Array.from({ length: 24 }, putAll));
      expect(await store.list(`${own}/`)).toEqual(expected);
    });

    test("many reads and writes at once all come to their end", async () => {
      const own = folder();
      const keys = Array.from({ length: 300 }, (_, index) => `${own}/${index}`);
      await Promise.all(keys.map((key) => store.put(key, key, { ifNoneMatch: "*" })));
      expect(await Promise.all(keys.map(textOf))).toEqual(keys);
    });

    describe(`${processes} processes at once`, () => {
      let workers: readonly StoreWorker[] = [];
      beforeAll(async () => {
        workers = await Promise.all(
          Array.from({ length: processes }, () => StoreWorker.open(subject.url, subject.settings)),
        );
      }, 120_000);
      afterAll(() => Promise.all(workers.map((worker) => worker.kill())));

      test("of concurrent creates exactly one wins, and its content is what stays", async () => {
        const own = folder();
        for (let round = 0; round < rounds; round++) {
          const key = `${own}/${round}`;
          const winner = await contend(workers, key, { ifNoneMatch: "*" });
          expect(await textOf(key)).toBe(winner);
        }
      });

      test("of concurrent updates exactly one wins, and its content is what stays", async () => {
        const key = `${folder()}/record`;
        let { etag } = await store.put(key, "start");
        for (let round = 0; round < rounds; round++) {
          const winner = await contend(workers, key, { ifMatch: etag });
          const found = await store.get(key);
          expect(Buffer.from(found?.body ?? []).toString()).toBe(winner);
          etag = found?.etag ?? "";
        }
      });
    });

    test("the probe finds the store fit, leaves its marker only, and is not repeated", async () => {
      await probeStore(store);
      expect(await store.list("probes/")).toEqual([probeMarker]);
      const marker = await store.get(probeMarker);
      await probeStore(store);
      expect((await store.get(probeMarker))?.etag).toBe(marker?.etag);
    });
  });
}

/** All workers put at once; answers the body of the only one that won. */
async function contend(
  workers: readonly StoreWorker[],
  key: string,
  condition: { readonly ifMatch: string } | { readonly ifNoneMatch: "*" },
): Promise<string> {
  const bodies = workers.map(() => randomUUID());
  const answers = await Promise.all(
    workers.map((worker, index) => worker.ask({ do: "put", key, body: bodies[index] ?? "", condition })),
  );
  const winners = bodies.filter((_, index) => answers[index]?.kind === "done");
  expect(winners).toHaveLength(1);
  return winners[0] ?? "";
}
