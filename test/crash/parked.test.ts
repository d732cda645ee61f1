import { open, stat } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { readTenantRecord } from "../../app/storage/records.ts";
import { openStore } from "../../app/storage/open-store.ts";
import { until } from "../support/litestream.ts";
import { startVersityGw, type VersityGw } from "../support/versitygw.ts";
import { storeEnvironment, WorkerPlace, type WorkerLife } from "../support/worker.ts";

let server: VersityGw;
let place: WorkerPlace;
beforeEach(async () => {
  server = await startVersityGw();
  place = await WorkerPlace.open(storeEnvironment(server, "parked"));
});
afterEach(async () => {
  await place.close();
  await server.stop();
});

/** A run to its end; repeated with its key while Litestream is started again. */
async function chain(life: WorkerLife, key: string): Promise<unknown> {
  const client = await life.client("acme");
  const start = () => client.start("chain", { token: key, steps: 3, ms: 2 }, { key, wait: "20s" });
  let answer = await start();
  await until("it is durable", async () => answer.status !== 503 || (answer = await start()).status !== 503);
  expect(answer).toMatchObject({ status: 200, body: { status: "completed" } });
  return answer.body;
}

async function parkedTimes(life: WorkerLife, times: number): Promise<void> {
  await until(`the tenant was parked ${times} times`, () => life.events("tenant.parked").length >= times);
}

test("parked, used, parked and killed, with Litestream killed between and the disk wiped: all is there", async () => {
  const life = await place.start({ HOLDFAST_IDLE: "200ms" });
  const before = [await chain(life, "first")];
  await parkedTimes(life, 1);
  for (const pid of life.litestreams()) process.kill(pid, "SIGKILL");
  before.push(await chain(life, "second"));
  await parkedTimes(life, 2);
  before.push(await chain(life, "third"));
  const opened = life.events("tenant.opened").map(({ source, epoch }) => [source, epoch]);
  expect(opened).toEqual([
    ["new", 1],
    ["parked", 1],
    ["parked", 1],
  ]);
  await parkedTimes(life, 3);
  process.kill(life.pid, "SIGKILL");
  await life.exited;
  await place.wipe();
  const next = await place.start();
  const after = [await chain(next, "first"), await chain(next, "second"), await chain(next, "third")];
  expect(after).toEqual(before);
  expect(next.events("tenant.opened")).toMatchObject([{ source: "replica", epoch: 2 }]);
}, 120_000);

test("a parked WAL whose end is overwritten, in its length, is left for its replica, and nothing is missing", async () => {
  const life = await place.start({ HOLDFAST_IDLE: "200ms" });
  const before = [await chain(life, "first"), await chain(life, "second")];
  await parkedTimes(life, life.events("tenant.opened").length);
  await life.killHard();
  const wal = join(place.dataFolder, "acme/e1/parked.wal");
  const file = await open(wal, "r+");
  const lost = 60_000;
  await file.write(Buffer.alloc(lost, 0x55), 0, lost, (await stat(wal)).size - lost);
  await file.close();
  const next = await place.start();
  expect([await chain(next, "first"), await chain(next, "second")]).toEqual(before);
  expect(next.events("tenant.local-loss")).toMatchObject([{ why: "its WAL is damaged" }]);
  expect(next.events("tenant.opened")).toMatchObject([{ source: "replica", epoch: 2 }]);
}, 60_000);

test("a worker with nothing to do ends by itself with 0, and has given its tenants away", async () => {
  const life = await place.start({ HOLDFAST_IDLE: "200ms", HOLDFAST_EXIT_IDLE: "2s" });
  await chain(life, "first");
  expect(await life.exited, life.describe()).toEqual({ code: 0, signal: null });
  const { credentials } = server;
  const store = openStore(server.storeUrl("parked"), { credentials, baseDir: "/" });
  expect((await readTenantRecord(store, "acme"))?.value.host).toBe(null);
  expect(await store.list("wakes/")).toEqual([]);
}, 60_000);
