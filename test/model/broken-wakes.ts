import type { Broken } from "./broken.ts";
import { changed, deafToItsRecord } from "./broken-ports.ts";
import { ttlMs } from "./host.ts";

const parts = /^(wakes\/[^/]+\/[^.]+)\.(\d+)(-.*)$/;

/** Who looks at a tenant again when nobody calls. */
export const brokenWakes: Readonly<Record<string, Broken>> = {
  "a wake stands before the work is told of": {
    ports: ({ store }, { clock }) => ({
      store: changed(store, {
        put: async (key, ...rest) => {
          if (!key.startsWith("wakes/")) return await store.put(key, ...rest);
          void clock.wait(ttlMs).then(() => store.put(key, ...rest).catch(() => {}));
          return { etag: "untrue" };
        },
      }),
    }),
  },
  "no wake's key is put twice": {
    ports: ({ store }) => ({
      store: changed(store, {
        put: (key, ...rest) => store.put(key.replace(parts, "$1"), ...rest),
        delete: (key) => store.delete(key.replace(parts, "$1")),
      }),
    }),
  },
  "a host deletes no wake of a later epoch": {
    leans: { wakes: 8, park: 4 },
    ports: ({ store, connect }, { id, machine, clock }) => {
      const own = new Set<string>();
      const asOld = (key: string): string => (own.has(key) ? key : key.replace(parts, "$1.0$3-$2"));
      let isClosing = false;
      // What it depends on is rare. Here one Machine takes long to close a file, and hears nothing of its record meanwhile.
      const heard = deafToItsRecord(store, id, () => isClosing);
      return {
        connect: async (...rest) => {
          const file = await connect(...rest);
          const close = async (): Promise<void> => {
            isClosing = machine === "A";
            if (isClosing) await clock.wait(4 * ttlMs);
            isClosing = false;
            await file.connection.close();
          };
          return { ...file, connection: changed(file.connection, { close }) };
        },
        store: changed(heard, {
          put: (key, ...rest) => {
            own.add(key);
            return heard.put(key, ...rest);
          },
          list: async (prefix) => (await store.list(prefix)).map(asOld),
          delete: (key) => store.delete(key.replace(/\.0(-.*)-(\d+)$/, ".$2$1")),
        }),
      };
    },
  },
};
