import { setImmediate as turn } from "node:timers/promises";
import { beforeEach, expect, test } from "vitest";
import { NotDurableError } from "../../app/storage/errors.ts";
import { LitestreamError } from "../../app/storage/litestream-control.ts";
import { Replica, VoidRegistrationError } from "../../app/storage/replica.ts";
import { FakeLitestream } from "../fakes/litestream.ts";

const path = "/data/acme/e1/tenant.db";
const noAnswer = new LitestreamError("no answer", { path });
let litestream: FakeLitestream;
let replica: Replica;
/** What Litestream's notes say. */
let noted: number;
let size: { main: number; wal: number };
const shipped = async (): Promise<number> => noted;

beforeEach(() => {
  litestream = new FakeLitestream();
  noted = 100;
  size = { main: 0, wal: 0 };
  replica = new Replica(litestream, {
    path,
    replicaUrl: "file:///store/tenants/acme/e1",
    shipped,
    size: () => size,
  });
});

test("a file is registered by its first sync, and by it only", async () => {
  expect(litestream.calls).toEqual([]);
  expect(await replica.sync()).toEqual({ txid: 1 });
  await replica.sync();
  expect(litestream.calls).toEqual(["register", "sync", "sync"]);
});

test("an answer that does not agree with itself is asked for again", async () => {
  litestream.answers = [
    [5, 4],
    [5, 6],
    [6, 6],
  ];
  expect(await replica.sync()).toEqual({ txid: 6 });
});

test.each([
  ["never catches up", [9, 8], NotDurableError],
  ["is replicated further than it goes", [8, 9], VoidRegistrationError],
  ["was never begun", [0, 0], VoidRegistrationError],
] as const)("a txid that %s is no durable write", async (_what, answer, error) => {
  litestream.answers = [answer];
  await expect(replica.sync()).rejects.toThrow(error);
});

test("a txid that falls voids the registration, also across a restart of Litestream", async () => {
  litestream.answers = [[7, 7]];
  await replica.sync();
  litestream.restart();
  litestream.answers = [[3, 3]];
  await expect(replica.sync()).rejects.toThrow(VoidRegistrationError);
  expect(litestream.calls).toEqual(["register", "sync", "register", "sync"]);
});

test("a Litestream that was started again is told of the file by the next sync, or before", async () => {
  await replica.sync();
  litestream.restart();
  await replica.registerAgain();
  await replica.sync();
  expect(litestream.calls).toEqual(["register", "sync", "register", "sync"]);
});

test("a file whose notes are gone is not registered again in its epoch", async () => {
  await replica.sync();
  litestream.restart();
  noted = 0;
  await expect(replica.registerAgain()).rejects.toThrow(VoidRegistrationError);
  await expect(replica.sync()).rejects.toThrow(VoidRegistrationError);
  expect(litestream.calls).toEqual(["register", "sync"]);
});

test("a Litestream that says twice that it lags behind is told of the file anew", async () => {
  litestream.answers = [...Array.from({ length: 8 }, (): [number, number] => [9, 8]), [9, 9]];
  for (let syncs = 0; syncs < 2; syncs += 1) await expect(replica.sync()).rejects.toThrow(NotDurableError);
  expect(await replica.sync()).toEqual({ txid: 9 });
  expect(litestream.calls.slice(-3)).toEqual(["unregister", "register", "sync"]);
});

test("a sync has the time that its bytes take on a slow way: the whole file at first, then what the WAL holds", async () => {
  size = { main: 800 * 2 ** 20, wal: 80 * 2 ** 20 };
  await replica.sync();
  await replica.sync();
  expect(litestream.syncTimeouts).toEqual([5 + 110, 5 + 10]);
});

test("while Litestream is away nothing is durable, and it is not asked", async () => {
  litestream.state = { kind: "restarting", attempt: 1, error: "it died" };
  await expect(replica.sync()).rejects.toThrow(NotDurableError);
  expect(litestream.calls).toEqual([]);
});

test("two syncs in a row that fail make the third one register the file anew", async () => {
  litestream.answers = [noAnswer, noAnswer, [1, 1]];
  await expect(replica.sync()).rejects.toThrow(NotDurableError);
  await expect(replica.sync()).rejects.toThrow(NotDurableError);
  await replica.sync();
  expect(litestream.calls).toEqual(["register", "sync", "sync", "unregister", "register", "sync"]);
});

test("a file that Litestream was never told of needs no letting go, and none of an earlier life", async () => {
  await replica.unregister();
  expect(litestream.calls).toEqual([]);
  const other = new Replica(litestream, {
    path,
    replicaUrl: "file:///store/tenants/acme/e1",
    shipped,
    size: () => size,
  });
  await other.sync();
  litestream.restart();
  await other.unregister();
  expect(litestream.calls).toEqual(["register", "sync"]);
});

test("what was let go is never registered again, by no sync and no restart", async () => {
  await replica.sync();
  await replica.unregister();
  await expect(replica.sync()).rejects.toThrow("let go");
  litestream.restart();
  await replica.registerAgain();
  await expect(replica.sync()).rejects.toThrow("let go");
  expect(litestream.held).toEqual(new Set());
});

test("a registration that is under way when the file is let go does not outlive it", async () => {
  const gate = Promise.withResolvers<void>();
  litestream.beforeRegister = gate.promise;
  const syncing = Promise.allSettled([replica.sync()]);
  await turn();
  const letGo = replica.unregister();
  gate.resolve();
  expect(await syncing).toMatchObject([{ reason: { code: "not_durable" } }]);
  await letGo;
  expect(litestream.held).toEqual(new Set());
});

test("a sync that is under way when the file is let go is not durable, and does not void anything", async () => {
  await replica.sync();
  const gate = Promise.withResolvers<void>();
  litestream.beforeSync = gate.promise;
  litestream.answers = [[0, 0]];
  const syncing = Promise.allSettled([replica.sync()]);
  await turn();
  await replica.unregister();
  gate.resolve();
  expect(await syncing).toMatchObject([{ reason: { code: "not_durable" } }]);
});

test("a letting go that fails says so as long as Litestream may hold the file, and can be tried again", async () => {
  await replica.sync();
  litestream.unregisterFails = { lettingGo: false };
  await expect(replica.unregister()).rejects.toThrow("it failed");
  litestream.unregisterFails = null;
  await replica.unregister();
  expect(litestream.held).toEqual(new Set());
});

test("a letting go that fails after it was made is made", async () => {
  await replica.sync();
  litestream.unregisterFails = { lettingGo: true };
  await expect(replica.unregister()).resolves.toBe(undefined);
});

test("what could not be let go for a new registration is let go at the end", async () => {
  litestream.answers = [noAnswer];
  await expect(replica.sync()).rejects.toThrow("no answer");
  await expect(replica.sync()).rejects.toThrow("no answer");
  litestream.unregisterFails = { lettingGo: false };
  litestream.beforeRegister = Promise.reject(noAnswer);
  litestream.beforeRegister.catch(() => {});
  await expect(replica.sync()).rejects.toThrow("no answer");
  litestream.unregisterFails = null;
  await replica.unregister();
  expect(litestream.held).toEqual(new Set());
});
