import type { Broken } from "./broken.ts";
import { changed, isMarked, isTenants, markingItself, withGetter } from "./broken-ports.ts";
import { ttlMs } from "./host.ts";

/** What must have happened before anything is acknowledged. */
export const brokenGates: Readonly<Record<string, Broken>> = {
  "an answer waits for the gate": {
    opened: (tenant) => void (tenant.durable = async () => {}),
  },
  "a proof under way is not joined": {
    ports: ({ proof }, { clock }) => {
      let underWay: Promise<void> | null = null;
      // An answer may take its time; here each does, or one would seldom be under way when it matters.
      const slowProof = async (): Promise<void> => {
        await proof();
        await clock.wait(ttlMs / 2);
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
    ports: ({ proof }, { tenants }) => ({
      proof: async () => {
        if (!tenants().every(({ rounds }) => rounds.isCovered)) await proof();
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
  "an answer's proof is sent after its last read": {
    opened: (tenant) => {
      const { connection } = tenant;
      const durable = tenant.durable.bind(tenant);
      const read = connection.read.bind(connection);
      tenant.durable = async () => {};
      connection.read = async (work) => {
        await durable();
        return await read(work);
      };
    },
  },
};
