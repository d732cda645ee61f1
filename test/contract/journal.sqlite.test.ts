import { randomBytes } from "node:crypto";
import { sql } from "drizzle-orm";
import { sealingCodec } from "../../app/storage/codec.ts";
import { SqliteJournal } from "../../app/storage/journal.ts";
import type { HoldfastTransaction } from "../../db/connect.ts";
import { migrate } from "../../db/migrate.ts";
import { temporaryConnection } from "../db/temporary-database.ts";
import { journalContract } from "./journal.contract.ts";

journalContract("SQLite", async () => {
  const connection = temporaryConnection();
  await migrate(connection);
  await connection.write((on) => on.run("CREATE TABLE counts (key TEXT PRIMARY KEY, value INTEGER)"));
  const store = { error: null as Error | null, asked: 0 };
  const journal = new SqliteJournal(connection, sealingCodec("1", randomBytes(32)), async () => {
    store.asked += 1;
    if (store.error !== null) throw store.error;
  });
  return {
    journal,
    store,
    set: async (tx, key, value) => {
      await (tx as HoldfastTransaction).run(sql`INSERT OR REPLACE INTO counts VALUES (${key}, ${value})`);
    },
    get: async (key) => {
      const query = "SELECT value FROM counts WHERE key = ?";
      return (await connection.read((on) => on.get<{ value: number }>(query, [key])))?.value;
    },
  };
});
