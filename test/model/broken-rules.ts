import { StoreUnavailableError, type StoredObject } from "../../app/storage/object-store.ts";
import type { HostRecord, TenantRecord } from "../../app/storage/records.ts";
import { MemoryStore } from "../fakes/memory-store.ts";
import type { Broken } from "./broken.ts";
import { tenantId, ttlMs } from "./host.ts";
import { restoreInto } from "./litestream.ts";

/** The rules of the protocol, each with the port that breaks it. */
export const brokenRules: Readonly<Record<string, Broken>> = {
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
            const record = JSON.parse(String(body)) as { readonly nonce: string };
            own.set(key, record.nonce);
            return store.put(key, JSON.stringify({ ...record, nonce: "always the same" }), condition);
          },
        }),
      };
    },
  },
  "an answer waits for the gate": {
    opened: (tenant) => void (tenant.durable = async () => {}),
  },
  "a proof under way is not joined": {
    ports: ({ proof }, { clock }) => {
      let underWay: Promise<void> | null = null;
      // An answer may take its time; here each does, or one would seldom be under way when it matters.
      const slowProof = async (): Promise<void> => {
        await proof();
        await new Promise<void>((resolve) => void clock.setTimer(ttlMs / 2, resolve));
      };
      return { proof: () => (underWay ??= slowProof().finally(() => (underWay = null))) };
    },
  },
  "a proof is sent after the sync has answered": {
    ports: ({ proof, litestream }) => {
      let early: Promise<void> | null = null;
      return {
        litestream: {
          ...litestream,
          sync: (database) => {
            early = proof();
            early.catch(() => {});
            return litestream.sync(database);
          },
        },
        proof: () => {
          const sent = early ?? proof();
          early = null;
          return sent;
        },
      };
    },
  },
  "what has nothing to ship is proved all the same": {
    ports: ({ proof }, { tenant }) => ({
      proof: async () => {
        if (tenant()?.rounds.isCovered !== true) await proof();
      },
    }),
  },
  "a sync under way is not joined by a later commit": {
    ports: ({ connect, litestream }) => {
      let syncing = 0;
      let seen = 0;
      let commits = (): number => 0;
      return {
        connect: async (...rest) => {
          const file = await connect(...rest);
          commits = () => file.connection.commits;
          const now = (): number => (syncing > 0 ? seen : commits());
          return { ...file, connection: withGetter(file.connection, "commits", now) };
        },
        litestream: {
          ...litestream,
          sync: async (database) => {
            if (syncing === 0) seen = commits();
            syncing += 1;
            try {
              return await litestream.sync(database);
            } finally {
              syncing -= 1;
            }
          },
        },
      };
    },
  },
  "a sync that has not shipped all is no round": {
    ports: ({ litestream }) => ({
      litestream: {
        ...litestream,
        sync: async (database) => {
          const { txid } = await litestream.sync(database);
          return { txid, replicatedTxid: txid };
        },
      },
    }),
  },
  "a txid that falls, or is overtaken by the replica's, ends the epoch": {
    ports: ({ litestream }) => ({
      litestream: {
        ...litestream,
        sync: async (database) => {
          const { txid, replicatedTxid } = await litestream.sync(database);
          return { txid: Math.max(txid, replicatedTxid), replicatedTxid };
        },
      },
    }),
  },
  "an epoch is marked before anything is acknowledged in it": {
    ports: ({ store }) => ({
      store: changed(store, {
        put: async (key, body, condition) => {
          const isMark = isTenants(key) && isMarked(body) && JSON.parse(String(body)).host !== null;
          return isMark ? { etag: condition?.ifMatch ?? "" } : store.put(key, body, condition);
        },
      }),
    }),
  },
  "an epoch is marked only when its first snapshot is in the store": {
    ports: ({ store }) => ({
      store: changed(store, {
        put: (key, body, condition) =>
          store.put(key, isTenants(key) ? markingItself(String(body)) : body, condition),
      }),
    }),
  },
  "an epoch that is not marked is restored by nobody": {
    ports: ({ restore }, { truth }) => ({
      restore: async ({ outputPath, ...source }) => {
        const epochs = [...truth.objects.keys()].flatMap(
          (key) => /\/e(\d+)\/ltx/.exec(key)?.slice(1).map(Number) ?? [],
        );
        const replicaUrl =
          epochs.length === 0 ? source.replicaUrl : `tenants/${tenantId}/e${Math.max(...epochs)}`;
        return await restore({ replicaUrl, outputPath });
      },
    }),
  },
  "a marked epoch whose data is missing is an error": {
    ports: ({ restore }, { disk }) => ({
      restore: async (source) => {
        try {
          return await restore(source);
        } catch {
          const folder = disk.folderOf(source.outputPath);
          if (folder !== undefined) folder.scratch = { writes: [], checkpointed: 0, damaged: false };
          return { txid: 1_000 };
        }
      },
    }),
  },
  "old epochs are pruned only behind an epoch that is marked": {
    prunes: (record) => {
      const marked = (): TenantRecord =>
        JSON.parse(markingItself(JSON.stringify(record.value))) as TenantRecord;
      return withGetter(record, "value", marked);
    },
  },
  "this Machine's file is not used when another Machine has marked a later epoch": {
    ports: ({ store }, { disk, machine }) => ({
      store: changed(store, {
        get: async (key) => {
          const object = await store.get(key);
          if (!isTenants(key)) return object;
          const newest = Math.max(0, ...disk.epochs(tenantId).keys());
          return edited<TenantRecord>(object, (record) => ({
            ...record,
            lineage: record.lineage.map((entry) =>
              entry.epoch > newest && newest > 0 ? { ...entry, machine, from: null } : entry,
            ),
          }));
        },
      }),
    }),
  },
  "this Machine's file is not used after a power loss": {
    ports: () => ({ bootId: "always the same" }),
  },
  "this Machine's file is not used when it lacks something": {
    ports: ({ files }) => ({ files: changed(files, { findLoss: async () => null }) }),
  },
  "Litestream's notes go before a file moves": {
    ports: ({ files }, { disk }) => ({
      files: changed(files, {
        keep: async (tenant, { from, to }) => {
          const { shipping } = disk.folder(tenant, from);
          await files.keep(tenant, { from, to });
          disk.folder(tenant, to).shipping = shipping;
        },
      }),
    }),
  },
  "an epoch has a prefix of its own": {
    ports: ({ store }) => ({
      store: changed(store, { replicaUrl: (path) => store.replicaUrl(path.replace(/e\d+$/, "e")) }),
    }),
  },
  "nothing is acknowledged in an epoch whose release was sent": {
    goesOnAfterRelease: true,
    opened: ({ rounds, replica }) => {
      rounds.close = () => {};
      replica.unregister = async () => {};
    },
    ports: ({ connect }) => ({
      connect: async (...rest) => {
        const file = await connect(...rest);
        return { ...file, connection: changed(file.connection, { close: async () => {} }) };
      },
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
};

function isTenants(key: string): boolean {
  return key.endsWith("/tenant.json");
}

function isOthersRecord(key: string, id: string): boolean {
  return key.startsWith("hosts/") && key !== `hosts/${id}.json`;
}

function edited<Value extends object>(
  object: StoredObject | undefined,
  edit: (value: Value) => Value,
): StoredObject | undefined {
  if (object === undefined) return undefined;
  const value = JSON.parse(Buffer.from(object.body).toString()) as Value;
  return { ...object, body: Buffer.from(JSON.stringify(edit(value))) };
}

function isMarked(body: Uint8Array | string): boolean {
  const { lineage, epoch } = JSON.parse(String(body)) as TenantRecord;
  return lineage.some((entry) => entry.epoch === epoch && entry.from !== null);
}

function markingItself(body: string): string {
  const record = JSON.parse(body) as TenantRecord;
  const lineage = record.lineage.map((entry) => ({ ...entry, from: entry.from ?? { epoch: 0, txid: 0 } }));
  return JSON.stringify({ ...record, lineage });
}

function changed<Port extends object>(port: Port, changes: Partial<Port>): Port {
  return new Proxy(port, {
    get(target, name) {
      const value: unknown = Reflect.get(changes, name) ?? Reflect.get(target, name, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}

function withGetter<Port extends object>(port: Port, name: keyof Port, read: () => unknown): Port {
  return new Proxy(port, {
    get(target, asked) {
      if (asked === name) return read();
      const value: unknown = Reflect.get(target, asked, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}
