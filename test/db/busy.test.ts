import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { expect, onTestFinished, test } from "vitest";
import { meta } from "../../db/schema.ts";
import { otherUser, temporaryConnection, temporaryPath } from "./temporary-database.ts";

const createMeta = "CREATE TABLE meta (key TEXT PRIMARY KEY, value)";

test("a lock held by someone else is waited out without stopping the event loop", async () => {
  const path = temporaryPath();
  const connection = temporaryConnection({}, path);
  await connection.write((tx) => tx.run(createMeta));
  const other = otherUser(path);
  other.exec("BEGIN IMMEDIATE");
  const writes = [
    connection.write((tx) => tx.run("INSERT INTO meta VALUES ('a', 1)")),
    connection.db.insert(meta).values({ key: "b", value: "2" }),
    connection.db.transaction((tx) => tx.insert(meta).values({ key: "c", value: "3" })),
  ];
  for (let ticks = 0; ticks < 20; ticks += 1) await delay(2);
  expect(connection.busyCount).toBeGreaterThan(1);
  other.exec("COMMIT");
  await Promise.all(writes);
  expect(await connection.read((tx) => tx.get("SELECT count(*) AS n FROM meta"))).toEqual({ n: 3 });
  expect(connection.replacedCount).toBe(0);
});

test("a lock that is never given back ends in an error, and the connection works once it is free", async () => {
  const path = temporaryPath();
  const connection = temporaryConnection({ busyTimeoutMs: 50 }, path);
  await connection.write((tx) => tx.run(createMeta));
  const other = otherUser(path);
  other.exec("BEGIN IMMEDIATE");
  const insert = () => connection.write((tx) => tx.run("INSERT INTO meta VALUES ('a', 1)"));
  const busy = { code: "database_busy" };
  await expect(insert()).rejects.toMatchObject(busy);
  await expect(connection.db.insert(meta).values({ key: "b", value: "2" })).rejects.toMatchObject({
    cause: busy,
  });
  await expect(connection.db.transaction((tx) => tx.select().from(meta))).rejects.toMatchObject(busy);
  expect(await connection.read((tx) => tx.all("SELECT * FROM meta"))).toEqual([]);
  other.exec("ROLLBACK");
  await insert();
});

test("on the native package, one prepared statement that met BUSY keeps every later commit from succeeding", () => {
  // Why writes begin by exec() and a handle with such a statement is replaced.
  const path = temporaryPath();
  const [database, other] = [otherUser(path), otherUser(path)];
  database.exec("CREATE TABLE items (value)");
  const poisoned = database.prepare("INSERT INTO items VALUES (1)");
  other.exec("BEGIN IMMEDIATE");
  expect(() => poisoned.run([])).toThrow("database is locked");
  other.exec("COMMIT");
  for (let attempt = 0; attempt < 3; attempt += 1) {
    database.exec("BEGIN IMMEDIATE");
    database.exec("INSERT INTO items VALUES (2)");
    expect(() => database.exec("COMMIT")).toThrow("SQL statements in progress");
    database.exec("ROLLBACK");
  }
});

test("a prepared read that meets BUSY is run again on a new handle", async () => {
  const path = temporaryPath();
  const connection = temporaryConnection({}, path);
  await connection.write((tx) => {
    tx.run("CREATE TABLE items (value)");
    tx.run(
      "INSERT INTO items WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 96) SELECT zeroblob(1000000) FROM n",
    );
  });
  const count = () => connection.read((tx) => tx.get("SELECT count(*) AS n FROM items"));
  expect(await count()).toEqual({ n: 96 });
  const recovering = await haltInsideRecovery(path);
  const counted = count();
  await delay(100);
  expect({ busy: connection.busyCount > 1, replaced: connection.replacedCount > 0 }).toEqual({
    busy: true,
    replaced: true,
  });
  recovering.resume();
  expect(await counted).toEqual({ n: 96 });
  await connection.write((tx) => tx.run("INSERT INTO items VALUES (1)"));
  expect(await count()).toEqual({ n: 97 });
});

/**
 * Another process that is stopped while it rebuilds the WAL's index, as the next user does after a crash that left a torn
 * one: for that time every read of every other process meets SQLITE_BUSY.
 */
async function haltInsideRecovery(path: string): Promise<{ resume(): void }> {
  const child = spawn(process.execPath, [join(import.meta.dirname, "read-on-request.ts"), path], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  onTestFinished(async () => {
    child.kill("SIGKILL");
    if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
  });
  await once(child.stdout, "data");
  for (let attempt = 0; attempt < 20; attempt += 1) {
    tearIndex(path);
    const recovered = once(child.stdout, "data").then(() => true);
    child.stdin.write("read\n");
    while (!holdsRecoveryLock(child.pid)) {
      if (await Promise.race([recovered, delay(1)])) break;
    }
    child.kill("SIGSTOP");
    await delay(20);
    if (holdsRecoveryLock(child.pid)) return { resume: () => child.kill("SIGCONT") };
    child.kill("SIGCONT");
    await recovered;
  }
  throw new Error("The other process always recovered the WAL before it could be stopped");
}

/** Done by a process of its own, since one that closes the file loses SQLite's locks on it. */
function tearIndex(path: string): void {
  const script = `const fs = require("node:fs"); const file = fs.openSync(process.argv[1], "r+");
    fs.writeSync(file, Buffer.alloc(8, 0xff), 0, 8, 8); fs.closeSync(file);`;
  expect(spawnSync(process.execPath, ["-e", script, `${path}-shm`]).status).toBe(0);
}

/** Byte 122 of the shared memory file: WAL_RECOVER_LOCK in SQLite's wal.c. */
function holdsRecoveryLock(pid: number | undefined): boolean {
  return readFileSync("/proc/locks", "utf8")
    .split("\n")
    .map((line) => line.trim().split(/\s+/))
    .some(
      ([, , , mode, holder, , first, last]) =>
        mode === "WRITE" &&
        Number(holder) === pid &&
        Number(first) <= 122 &&
        Number(last) >= 122 &&
        Number(last) < 1000,
    );
}
