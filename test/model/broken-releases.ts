import type { Connection } from "../../db/connect.ts";
import type { TenantRecord } from "../../app/storage/records.ts";
import type { Broken } from "./broken.ts";
import { changed, markingItself, withGetter } from "./broken-ports.ts";
import { ttlMs } from "./host.ts";

/** How a tenant is let go, and what is deleted behind it. */
export const brokenReleases: Readonly<Record<string, Broken>> = {
  "old epochs are pruned only behind an epoch that is marked": {
    prunes: (record) => {
      const marked = (): TenantRecord =>
        JSON.parse(markingItself(JSON.stringify(record.value))) as TenantRecord;
      return withGetter(record, "value", marked);
    },
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
  "what a release leaves behind is all in the store": {
    opened: ({ rounds }) => {
      rounds.round = async () => {};
    },
  },
  "commits end before the last round of a release": {
    ports: ({ connect }, { clock }) => ({
      connect: async (...rest) => {
        const file = await connect(...rest);
        const write: Connection["write"] = async (work) => {
          // A slow one, so that some are under way.
          await clock.wait(ttlMs / 2);
          return await file.connection.write(work);
        };
        return { ...file, connection: changed(file.connection, { close: async () => {}, write }) };
      },
    }),
  },
};
