import { AsyncLocalStorage } from "node:async_hooks";
import { setTimeout as delay } from "node:timers/promises";
import { eq, sql } from "drizzle-orm";
import { expect, test } from "vitest";
import type { Connection, ConnectOptions } from "../../db/connect.ts";
import { migrate } from "../../db/migrate.ts";
import { history, meta } from "../../db/schema.ts";
import { temporaryConnection } from "./temporary-database.ts";

async function migrated(options?: ConnectOptions): Promise<Connection> {
  const connection = temporaryConnection(options);
  await migrate(connection);
  return connection;
}

const keys = (connection: Connection) =>
  connection.read((tx) => tx.all<{ key: string }>("SELECT key FROM meta ORDER BY key").map((row) => row.key));
const row = (key: string) => ({ key, value: "v" });
const event = (seq: number, data: Uint8Array) => ({
  runId: "r",
  seq,
  kind: "step.completed",
  path: "",
  name: "n",
  occurrence: 0,
  attempt: 1,
  at: 5,
  data,
});

test("queries, returning, relational queries and raw rows give what was written", async () => {
  const { db } = await migrated();
  expect(
    await db
      .insert(meta)
      .values([row("a"), row("b")])
      .returning({ key: meta.key }),
  ).toEqual([{ key: "a" }, { key: "b" }]);
  expect(await db.select().from(meta).where(eq(meta.key, "b"))).toEqual([row("b")]);
  expect(await db.query.meta.findFirst({ where: eq(meta.key, "a") })).toEqual(row("a"));
  expect(await db.query.meta.findFirst({ where: eq(meta.key, "c") })).toBeUndefined();
  expect(await db.all(sql`SELECT key, length(value) AS "constructor" FROM meta`)).toEqual([
    { key: "a", constructor: 1 },
    { key: "b", constructor: 1 },
  ]);
  expect(await db.get(sql`SELECT count(*) AS n FROM meta`)).toMatchObject({ n: 2 });
  expect(await db.values(sql`SELECT 1, 1`)).toHaveLength(1);
  expect(await db.update(meta).set({ value: "w" })).toMatchObject({ rowsAffected: 2 });
  expect(await db.$count(meta)).toBe(2);
});

test("bytes come back as they went in", async () => {
  const { db } = await migrated();
  await db.insert(history).values([event(1, new Uint8Array([0, 255, 7])), event(2, Buffer.alloc(0))]);
  const rows = await db.select({ data: history.data }).from(history);
  expect(rows.map(({ data }) => [...(data as Uint8Array)])).toEqual([[0, 255, 7], []]);
});

test("a batch is one transaction, and none of it is there if one of its statements fails", async () => {
  const connection = await migrated();
  const { db } = connection;
  const before = connection.commits;
  const [, rows] = await db.batch([db.insert(meta).values(row("a")), db.select().from(meta)]);
  expect(rows).toEqual([row("a")]);
  expect(connection.commits).toBe(before + 1);
  await expect(
    db.batch([db.insert(meta).values(row("b")), db.insert(meta).values(row("a"))]),
  ).rejects.toMatchObject({ code: "SQLITE_CONSTRAINT_PRIMARYKEY" });
  expect(await keys(connection)).toEqual(["a"]);
});

test("reads are not counted as commits, and writes are", async () => {
  const connection = await migrated();
  const { db } = connection;
  const before = connection.commits;
  await db.select().from(meta);
  await db.query.meta.findMany();
  await db.get(sql`WITH x AS (SELECT 1 AS y) SELECT * FROM x`);
  await db.batch([db.select().from(meta), db.select().from(meta)]);
  await db.transaction((tx) => tx.select().from(meta));
  await db.delete(meta);
  expect(connection.commits).toBe(before);
  await db.insert(meta).values(row("a")).returning();
  await db.transaction((tx) => tx.insert(meta).values(row("b")));
  expect(connection.commits).toBe(before + 2);
});

test("a transaction commits as a whole, and a savepoint inside it can be undone alone", async () => {
  const connection = await migrated();
  const answer = await connection.db.transaction(async (tx) => {
    await tx.insert(meta).values(row("a"));
    await expect(
      tx.transaction(async (inner) => {
        await inner.insert(meta).values(row("b"));
        throw new Error("undo this one");
      }),
    ).rejects.toThrow("undo this one");
    await tx.transaction((inner) => inner.insert(meta).values(row("c")));
    return "done";
  });
  expect(answer).toBe("done");
  expect(await keys(connection)).toEqual(["a", "c"]);
});

test("a transaction whose callback throws leaves nothing behind", async () => {
  const connection = await migrated();
  const failure = new Error("no");
  await expect(
    connection.db.transaction(async (tx) => {
      await tx.insert(meta).values(row("a"));
      throw failure;
    }),
  ).rejects.toBe(failure);
  expect(await keys(connection)).toEqual([]);
});

test("others wait while a transaction is open, and see all of it or nothing", async () => {
  const connection = await migrated();
  const transaction = connection.db.transaction(async (tx) => {
    await tx.insert(meta).values(row("a"));
    await delay(30);
    await tx.insert(meta).values(row("b"));
  });
  const seen = [
    await keys(connection),
    ...(await Promise.all([connection.db.select().from(meta), transaction])),
  ];
  expect(seen.slice(0, 2)).toEqual([
    ["a", "b"],
    [row("a"), row("b")],
  ]);
});

test("use of the connection inside its own transaction is refused instead of waiting for ever", async () => {
  const connection = await migrated();
  const { db } = connection;
  const refused = expect.objectContaining({ code: "nested_transaction" });
  const detached = await db.transaction(async (tx) => {
    await tx.insert(meta).values(row("a"));
    await delay(1);
    await expect(db.select().from(meta)).rejects.toMatchObject({ cause: refused });
    await expect(db.insert(meta).values(row("b"))).rejects.toMatchObject({ cause: refused });
    await expect(db.batch([db.select().from(meta)])).rejects.toEqual(refused);
    await expect(db.transaction((inner) => inner.select().from(meta))).rejects.toEqual(refused);
    await expect(connection.write(() => 1)).rejects.toEqual(refused);
    await expect(connection.read(() => 1)).rejects.toEqual(refused);
    await expect(connection.idle()).rejects.toEqual(refused);
    await expect(connection.close()).rejects.toEqual(refused);
    return AsyncLocalStorage.snapshot();
  });
  await expect(connection.write(() => connection.read(() => 1))).rejects.toThrow("must be synchronous");
  expect(await detached(() => keys(connection))).toEqual(["a"]);
});

test("another connection may be used inside a transaction", async () => {
  const [one, other] = [await migrated(), await migrated()];
  await one.db.transaction(async (tx) => {
    await tx.insert(meta).values(row("a"));
    await other.db.insert(meta).values(row("b"));
  });
  expect([await keys(one), await keys(other)]).toEqual([["a"], ["b"]]);
});

test("a transaction that takes too long is rolled back, and everyone else goes on", async () => {
  const connection = await migrated({ transactionTimeoutMs: 50 });
  let late: Promise<unknown> = Promise.resolve();
  const transaction = connection.db.transaction(async (tx) => {
    await tx.insert(meta).values(row("a"));
    late = delay(150).then(() => tx.insert(meta).values(row("b")));
    await new Promise(() => undefined);
  });
  const others = connection.db.insert(meta).values(row("c"));
  await expect(transaction).rejects.toMatchObject({ code: "transaction_timeout" });
  await others;
  await expect(late).rejects.toMatchObject({ cause: { code: "transaction_timeout" } });
  expect(await keys(connection)).toEqual(["c"]);
});

test("errors arrive as Drizzle's, with SQLite's code in their cause", async () => {
  const { db } = await migrated();
  await db.insert(meta).values(row("a"));
  await expect(db.insert(meta).values(row("a"))).rejects.toMatchObject({
    cause: { code: "SQLITE_CONSTRAINT_PRIMARYKEY" },
  });
  await expect(db.run(sql`SELECT * FROM nowhere`)).rejects.toMatchObject({ cause: { code: "SQLITE_ERROR" } });
});
