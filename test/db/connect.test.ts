import { setTimeout as delay } from "node:timers/promises";
import type { Client } from "@libsql/client";
import Database from "libsql";
import { expect, test } from "vitest";
import { connect } from "../../db/connect.ts";
import type { Statements } from "../../db/connect.ts";
import { RawConnection } from "../../db/raw-connection.ts";
import { otherUser, temporaryConnection, temporaryPath, walSize } from "./temporary-database.ts";

const createItems = "CREATE TABLE items (id INTEGER PRIMARY KEY, value)";
const insertItem = "INSERT INTO items (value) VALUES (?)";

const create = (tx: Statements) => tx.run(createItems);
const count = (tx: Statements) => tx.get<{ n: number }>("SELECT count(*) AS n FROM items")?.n;

test("every new handle has the pragmas that replication rests on", () => {
  const path = temporaryPath();
  for (const handle of [new RawConnection(path, 10), new RawConnection(path, 10)]) {
    const names = ["journal_mode", "synchronous", "wal_autocheckpoint", "foreign_keys", "busy_timeout"];
    const values = names.map((name) => handle.execute(`PRAGMA ${name}`, []).rows[0]?.[0]);
    handle.close();
    expect(values).toEqual(["wal", 1, 0, 1, 0]);
  }
});

test("a script that changed a pragma is found out, and the handle replaced", async () => {
  const connection = temporaryConnection();
  const { $client } = connection.db as unknown as { $client: Client };
  await $client.executeMultiple("CREATE TABLE a (x); INSERT INTO a VALUES (1)");
  await expect($client.executeMultiple("PRAGMA wal_autocheckpoint = 1000")).rejects.toMatchObject({
    code: "wrong_pragma",
  });
  await expect($client.executeMultiple("COMMIT")).rejects.toMatchObject({ code: "refused_statement" });
  expect(connection.replacedCount).toBe(1);
  await $client.executeMultiple("INSERT INTO a VALUES (2)");
});

test("a file that cannot have write-ahead logging is refused", async () => {
  const connection = connect(":memory:");
  await expect(connection.read(count)).rejects.toMatchObject({ code: "wrong_pragma" });
  await connection.close();
});

test("pragmas that replication rests on cannot be changed through the connection", async () => {
  const connection = temporaryConnection();
  for (const sql of [
    "PRAGMA wal_autocheckpoint = 1000",
    "/* x */ pragma main.synchronous=OFF",
    "PRAGMA wal_checkpoint(TRUNCATE)",
    "COMMIT",
    "rollback",
    "BEGIN",
  ]) {
    const refused = expect.objectContaining({ code: "refused_statement" });
    await expect(connection.write((tx) => tx.run(sql))).rejects.toEqual(refused);
    await expect(connection.db.run(sql)).rejects.toMatchObject({ cause: refused });
  }
});

test("work that throws leaves nothing behind and its error is passed on", async () => {
  const connection = temporaryConnection();
  await connection.write(create);
  const failure = new Error("no");
  await expect(
    connection.write((tx) => {
      tx.run(insertItem, [1]);
      throw failure;
    }),
  ).rejects.toBe(failure);
  expect(await connection.read(count)).toBe(0);
});

test("a constraint that fails leaves the connection as good as before", async () => {
  const connection = temporaryConnection();
  await connection.write(create);
  const insert = (tx: Statements) => tx.run("INSERT INTO items (id) VALUES (?)", [1]);
  await connection.write(insert);
  await expect(connection.write(insert)).rejects.toMatchObject({ code: "SQLITE_CONSTRAINT_PRIMARYKEY" });
  await connection.write((tx) => tx.run(insertItem, ["after"]));
  expect(await connection.read(count)).toBe(2);
  expect(connection.replacedCount).toBe(0);
});

test("work that would go on after its transaction is refused, and so are its handles", async () => {
  const connection = temporaryConnection();
  await connection.write(create);
  await expect(
    connection.write(async (tx) => {
      tx.run(insertItem, [1]);
      await delay(1);
    }),
  ).rejects.toThrow("must be synchronous");
  await expect(connection.write(() => connection.db.query.meta.findFirst())).rejects.toThrow(
    "must be synchronous",
  );
  const kept = await connection.write((tx) => ({ tx })).then(({ tx }) => tx);
  expect(() => kept.run(insertItem, [1])).toThrow(expect.objectContaining({ code: "transaction_closed" }));
  expect(await connection.read(count)).toBe(0);
});

test("a read cannot write", async () => {
  const connection = temporaryConnection();
  await connection.write(create);
  for (const sql of [
    insertItem,
    `${insertItem} RETURNING id`,
    "CREATE TABLE more (x)",
    "PRAGMA user_version = 3",
  ]) {
    await expect(connection.read((tx) => tx.all(sql, sql.includes("?") ? [1] : []))).rejects.toMatchObject({
      code: "refused_statement",
    });
  }
  expect(connection.commits).toBe(1);
});

test("a refused pragma has no effect, although SQLite runs some when they are prepared", async () => {
  const connection = temporaryConnection();
  await expect(connection.read((tx) => tx.get("PRAGMA case_sensitive_like = ON"))).rejects.toThrow(
    "not provably a read",
  );
  expect(await connection.read((tx) => tx.get("SELECT 'a' LIKE 'A' AS alike"))).toEqual({ alike: 1 });
});

test("only commits that changed something are counted, and each is announced once it is there", async () => {
  const announced: number[] = [];
  const connection = temporaryConnection({ onCommit: (commits) => announced.push(commits) });
  await connection.write(create);
  await connection.write((tx) => tx.run(insertItem, [1]));
  expect(connection.commits).toBe(2);

  await connection.write((tx) => tx.run("UPDATE items SET value = 2 WHERE id = 77"));
  await connection.write((tx) => tx.all("SELECT * FROM items"));
  await connection.write((tx) => tx.run("INSERT INTO items (id) VALUES (1) ON CONFLICT DO NOTHING"));
  await connection.write(() => undefined);
  await expect(
    connection.write((tx) => {
      tx.run(insertItem, [3]);
      throw new Error("no");
    }),
  ).rejects.toThrow("no");
  await connection.write((tx) => tx.run("DELETE FROM items WHERE id = 77"));
  expect(connection.commits).toBe(2);

  await connection.write((tx) => tx.all(`${insertItem} RETURNING id`, [4]));
  await connection.write((tx) => tx.run("PRAGMA user_version = 4"));
  expect(announced).toEqual([1, 2, 3, 4]);
});

test("what a trigger changed counts as a change", async () => {
  const connection = temporaryConnection();
  await connection.write((tx) => {
    tx.run(createItems);
    tx.run("CREATE VIEW shown AS SELECT value FROM items");
    tx.run(
      "CREATE TRIGGER t INSTEAD OF INSERT ON shown BEGIN INSERT INTO items (value) VALUES (new.value); END",
    );
  });
  const { changes } = await connection.write((tx) => tx.run("INSERT INTO shown VALUES (1)"));
  expect({ changes, commits: connection.commits }).toEqual({ changes: 0, commits: 2 });
});

test("operations run in the order of the calls, and idle waits for all of them", async () => {
  const connection = temporaryConnection();
  const order: number[] = [];
  const calls: Promise<unknown>[] = [connection.write(create)];
  for (let i = 0; i < 50; i += 1) {
    const work = (tx: Statements) => {
      order.push(i);
      return count(tx);
    };
    calls.push(i % 2 === 0 ? connection.read(work) : connection.write(work));
  }
  await connection.idle();
  expect(order).toEqual(Array.from({ length: 50 }, (_, i) => i));
  await Promise.all(calls);
});

test("a queue that is too long refuses more, and serves again once it is shorter", async () => {
  const connection = temporaryConnection({ queueLimit: 3 });
  const calls = [1, 2, 3].map(() => connection.read(() => 1));
  await expect(connection.read(() => 1)).rejects.toMatchObject({ code: "queue_full" });
  expect(await Promise.all(calls)).toEqual([1, 1, 1]);
  expect(await connection.read(() => 2)).toBe(2);
});

test("closing waits for what is queued and refuses what comes later", async () => {
  const path = temporaryPath();
  const connection = connect(path);
  const written = connection.write(create);
  const closed = connection.close();
  await expect(connection.read(count)).rejects.toMatchObject({ code: "connection_closed" });
  await expect(connection.db.query.meta.findFirst()).rejects.toMatchObject({
    cause: { code: "connection_closed" },
  });
  await Promise.all([written, closed, connection.close()]);
  const again = temporaryConnection({}, path);
  expect(await again.read(count)).toBe(0);
});

test("opening and reading a file writes nothing", async () => {
  const path = temporaryPath();
  const holder = otherUser(path);
  holder.exec(createItems);
  const before = walSize(path);
  const connection = temporaryConnection({}, path);
  expect(await connection.read(count)).toBe(0);
  expect({ size: walSize(path), commits: connection.commits }).toEqual({ size: before, commits: 0 });
});

test("closing checkpoints nothing while another process, as Litestream is, has the file open", async () => {
  const path = temporaryPath();
  const connection = connect(path);
  await connection.write(create);
  const before = walSize(path);
  const other = otherUser(path);
  expect(other.prepare("SELECT count(*) AS n FROM items").all([])).toMatchObject([{ n: 0 }]);
  await connection.close();
  expect(before).toBeGreaterThan(0);
  expect(walSize(path)).toBe(before);
});

test("kept statements follow a change of the schema", async () => {
  const connection = temporaryConnection({ keptStatements: 5 });
  await connection.write(create);
  await connection.write((tx) => tx.run(insertItem, ["x"]));
  const all = (tx: Statements) => tx.all("SELECT * FROM items");
  expect(await connection.read(all)).toEqual([{ id: 1, value: "x" }]);
  await connection.write((tx) => tx.run("ALTER TABLE items ADD COLUMN more DEFAULT 9"));
  expect(await connection.read(all)).toEqual([{ id: 1, value: "x", more: 9 }]);
  await connection.write((tx) => {
    for (let i = 0; i < 30; i += 1) tx.get(`SELECT ${String(i)} FROM items`);
  });
  expect(await connection.read(all)).toEqual([{ id: 1, value: "x", more: 9 }]);
});

test("a kept statement never returns the row of the call before", async () => {
  const connection = temporaryConnection();
  await connection.write(create);
  for (const value of ["a", "b"]) await connection.write((tx) => tx.run(insertItem, [value]));
  const found = await connection.read((tx) =>
    [1, 2, 99, 1].flatMap((id) => {
      const sql = "SELECT value FROM items WHERE id = ?";
      return [tx.all<{ value: string }>(sql, [id])[0]?.value, tx.get<{ value: string }>(sql, [id])?.value];
    }),
  );
  expect(found).toEqual(["a", "a", "b", "b", undefined, undefined, "a", "a"]);
});

test("the native package would return such a row", () => {
  // Why `raw-connection.ts` never calls get(). Should this fail after an update of the package, that can be looked at again.
  const database = new Database(":memory:");
  const statement = database.prepare("SELECT ? AS value");
  statement.all(["old"]);
  expect(statement.get(["new"])).toMatchObject({ value: "old" });
  database.close();
});
