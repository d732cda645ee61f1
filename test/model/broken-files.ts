import type { TenantRecord } from "../../app/storage/records.ts";
import type { Broken } from "./broken.ts";
import { changed, deafToItsRecord, edited, isTenants } from "./broken-ports.ts";
import { ttlMs } from "./host.ts";
import { restoreInto } from "./litestream.ts";

/** Which file a tenant is opened with. */
export const brokenFiles: Readonly<Record<string, Broken>> = {
  "an epoch that is not marked is restored by nobody": {
    ports: ({ restore }, { truth }) => ({
      restore: async ({ outputPath, ...source }) => {
        const tenant = source.replicaUrl.replace(/\d+$/, "");
        const epochs = [...truth.objects.keys()].flatMap((key) =>
          key.startsWith(tenant) ? (/\/e(\d+)\/ltx/.exec(key)?.slice(1).map(Number) ?? []) : [],
        );
        const replicaUrl = epochs.length === 0 ? source.replicaUrl : `${tenant}${Math.max(...epochs)}`;
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
  "this Machine's file is not used when another Machine has marked a later epoch": {
    ports: ({ store }, { disk, machine }) => ({
      store: changed(store, {
        get: async (key) => {
          const object = await store.get(key);
          if (!isTenants(key)) return object;
          const newest = Math.max(0, ...disk.epochs(key.split("/")[1] ?? "").keys());
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
  "a tenant is restored from the newest epoch that is marked": {
    ports: ({ restore }, { truth }) => ({
      restore: async ({ outputPath, replicaUrl }) => {
        const [, tenant = "", epoch = ""] = /^(.*\/e)(\d+)$/.exec(replicaUrl) ?? [];
        const older = `${tenant}${Number(epoch) - 1}`;
        const isThere = [...truth.objects.keys()].some((key) => key.startsWith(`${older}/ltx`));
        return await restore({ replicaUrl: isThere ? older : replicaUrl, outputPath });
      },
    }),
  },
  "a replica that ends before its record says is not restored": {
    leans: { bucket: 10 },
    ports: ({ restore }) => ({
      restore: async (source) => {
        await restore(source);
        return { txid: Infinity };
      },
    }),
  },
  "a restore is void if the record was changed meanwhile": {
    leans: { prune: 8 },
    ports: ({ store }, { id, machine, truth, disk, clock }) => {
      const written = new Map<string, string>();
      let isRestoring = false;
      let looksAgain = false;
      // What it depends on is rare. Here one Machine's restores are slow, and it hears nothing of its record meanwhile;
      // there are no snapshots, and of a replica that is deleted the end goes first.
      const slow = changed(truth, {
        list: async (prefix) => {
          if (machine === "A") await clock.wait(6 * ttlMs);
          return await truth.list(prefix);
        },
      });
      const heard = deafToItsRecord(store, id, () => isRestoring);
      return {
        restore: async (source) => {
          isRestoring = true;
          looksAgain = true;
          return await restoreInto(disk, slow, source).finally(() => (isRestoring = false));
        },
        store: changed(heard, {
          get: async (key) => {
            if (key.includes("/snapshots/")) return undefined;
            const own = written.get(key);
            if (!isTenants(key) || !looksAgain || own === undefined) return await heard.get(key);
            looksAgain = false;
            return { body: Buffer.from(own), etag: own };
          },
          put: async (key, body, condition) => {
            const put = await heard.put(key, body, condition);
            written.set(key, String(body));
            return put;
          },
          delete: async (key) => {
            if (key.endsWith("-0000000000000001.ltx")) await clock.wait(3 * ttlMs);
            await store.delete(key);
          },
        }),
      };
    },
  },
  "what only this Machine's file holds is shown after a round": {
    ports: ({ files }) => ({
      files: changed(files, {
        newest: async (tenant) => {
          const newest = await files.newest(tenant);
          return newest === undefined ? undefined : { ...newest, note: { ...newest.note, parked: true } };
        },
      }),
    }),
  },
  "a file moves to its new epoch in one rename, with its WAL": {
    ports: ({ files }, { disk }) => ({
      files: changed(files, {
        keep: async (tenant, { from, to }) => {
          const { file, note } = disk.folder(tenant, from);
          if (file !== null) {
            const half = { ...file, writes: file.writes.slice(0, file.checkpointed) };
            Object.assign(disk.folder(tenant, to), { file: half, note });
            disk.folder(tenant, from).file = null;
            await files.discard("nobody", 1);
            disk.folder(tenant, from).file = file;
          }
          await files.keep(tenant, { from, to });
        },
      }),
    }),
  },
  "a parked file is used only as it was parked": {
    ports: ({ files }) => ({
      files: changed(files, { takeBack: async () => ({ kind: "whole", hold: { release: () => {} } }) }),
    }),
  },
};
