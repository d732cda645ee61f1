import { PreconditionFailedError, StoreUnavailableError } from "../../app/storage/object-store.ts";
import type { HostRecord } from "../../app/storage/records.ts";
import { MemoryStore } from "../fakes/memory-store.ts";
import type { Broken } from "./broken.ts";
import { changed, edited, isOthersRecord, isTenants } from "./broken-ports.ts";
import { ttlMs } from "./host.ts";
import { restoreInto } from "./litestream.ts";

/** Who has a tenant, and what ends another's right to it. */
export const brokenClaims: Readonly<Record<string, Broken>> = {
  "a holder is fenced before its tenant is claimed": {
    ports: ({ store }, { id }) => ({
      store: changed(store, {
        put: async (key, ...rest) => (isOthersRecord(key, id) ? { etag: "untrue" } : store.put(key, ...rest)),
      }),
    }),
  },
  "a holder is fenced, not only taken for dead by its wall clock": {
    ports: ({ store }, { id, clock }) => ({
      store: changed(store, {
        get: async (key) =>
          edited<HostRecord>(await store.get(key), (record) =>
            isOthersRecord(key, id) && clock.now() - record.beatAt > ttlMs
              ? { ...record, state: "fenced" }
              : record,
          ),
      }),
    }),
  },
  "a claim is written on what was read": {
    ports: ({ store }) => ({
      store: changed(store, {
        put: (key, body, condition) => store.put(key, body, isTenants(key) ? undefined : condition),
      }),
    }),
  },
  "a tenant is restored after it was claimed": {
    ports: ({ store }, { truth, disk }) => {
      const early = new MemoryStore();
      return {
        store: changed(store, {
          get: (key) => {
            if (isTenants(key)) {
              early.objects.clear();
              for (const [name, body] of truth.objects) early.objects.set(name, body);
            }
            return store.get(key);
          },
        }),
        restore: (source) => restoreInto(disk, early, source),
      };
    },
  },
  "a record's nonce is fresh": {
    ports: ({ store }) => {
      const own = new Map<string, string>();
      return {
        store: changed(store, {
          get: async (key) =>
            edited(await store.get(key), (record) => ({ ...record, nonce: own.get(key) ?? "" })),
          put: (key, body, condition) => {
            if (!key.endsWith(".json")) return store.put(key, body, condition);
            const record = JSON.parse(String(body)) as { readonly nonce: string };
            own.set(key, record.nonce);
            return store.put(key, JSON.stringify({ ...record, nonce: "always the same" }), condition);
          },
        }),
      };
    },
  },
  "an epoch has a prefix of its own": {
    ports: ({ store }) => ({
      store: changed(store, { replicaUrl: (path) => store.replicaUrl(path.replace(/e\d+$/, "e")) }),
    }),
  },
  "the record of a fenced host is kept": {
    forgetsFencedHosts: true,
    // A network may do so too, but seldom does: each create is made once more, late, and no beat arrives.
    ports: ({ store }, { id, truth, clock }) => ({
      store: changed(store, {
        put: async (key, body, condition) => {
          if (key !== `hosts/${id}.json`) return await store.put(key, body, condition);
          if (condition?.ifMatch !== undefined) throw new StoreUnavailableError("The beat was lost.");
          const again = (): void => void truth.put(key, body, condition).catch(() => {});
          for (const ttls of [2, 3, 4]) clock.setTimer(ttls * ttlMs, again);
          return await store.put(key, body, condition);
        },
      }),
    }),
  },
  "a host that has beaten meanwhile is not fenced": {
    ports: ({ store }, { id }) => ({
      store: changed(store, {
        put: async (key, body, condition) => {
          try {
            return await store.put(key, body, condition);
          } catch (error) {
            if (isOthersRecord(key, id) && error instanceof PreconditionFailedError)
              return { etag: "untrue" };
            throw error;
          }
        },
      }),
    }),
  },
  "a claim whose answer was lost counts only if the store says so": {
    ports: ({ store }) => ({
      store: changed(store, {
        put: async (key, body, condition) => {
          try {
            return await store.put(key, body, condition);
          } catch (error) {
            if (isTenants(key) && error instanceof StoreUnavailableError) return { etag: "untrue" };
            throw error;
          }
        },
      }),
    }),
  },
  "a host has one epoch of a tenant open at a time": {
    opensAgain: true,
  },
  "the store shows what was written last": {
    ports: ({ store }, { id, truth }) => {
      const before = previousVersions(truth);
      return {
        store: changed(store, {
          get: async (key) => {
            const now = await store.get(key);
            const stale = key === `hosts/${id}.json` ? before.get(key) : undefined;
            return stale === undefined ? now : { body: Buffer.from(stale), etag: stale };
          },
          put: async (key, ...rest) => {
            const replaced = truth.objects.get(key);
            const put = await store.put(key, ...rest);
            if (replaced !== undefined) before.set(key, replaced);
            return put;
          },
        }),
      };
    },
  },
};

const versions = new WeakMap<MemoryStore, Map<string, string>>();

/** What each object of the store was before it was written last, as its hosts have noted. */
function previousVersions(store: MemoryStore): Map<string, string> {
  const before = versions.get(store) ?? new Map<string, string>();
  versions.set(store, before);
  return before;
}
