import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { isRunning, until } from "../support/litestream.ts";
import { startVersityGw, type VersityGw } from "../support/versitygw.ts";
import { codeOf } from "../support/worker-client.ts";
import { storeEnvironment, WorkerPlace } from "../support/worker.ts";
import { countMissing, readLocalFiles } from "./drill/local-files.ts";

let folder: string;
let store: VersityGw;
let place: WorkerPlace;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "holdfast-warm-"));
  store = await startVersityGw({ folder });
  place = await WorkerPlace.open(storeEnvironment(store, "warm"));
});
afterEach(async () => {
  await place.close();
  await store.stop();
  await rm(folder, { recursive: true, force: true });
});

test("a worker that was killed goes on from its own file: what no replica has survives too", async () => {
  const life = await place.start();
  const client = await life.client("acme");
  const input = { token: "t", steps: 3, ms: 2 };
  const before = await client.start("chain", input, { key: "before", wait: "20s" });
  expect(before).toMatchObject({ status: 200, body: { status: "completed" } });
  await store.stop();
  const during = await client.start("chain", input, { key: "during" });
  expect(during.status).toBe(503);
  expect(codeOf(during)).toBe("not_durable");
  const litestreams = life.litestreams();
  process.kill(life.pid, "SIGKILL");
  expect(await life.exited).toEqual({ code: null, signal: "SIGKILL" });
  for (const pid of litestreams) await until("Litestream has died too", async () => !(await isRunning(pid)));
  const left = await readLocalFiles(place.dataFolder, join(place.folder, "copy"));
  const due = [...(left.get("acme")?.due ?? [])];
  expect(due).toHaveLength(1);

  store = await startVersityGw({ folder, port: store.port });
  const next = await place.start();
  expect(await next.first("tenant.opened")).toMatchObject({ tenant: "acme", source: "local", epoch: 2 });
  const again = await next.client("acme");
  const repeated = await again.start("chain", input, { key: "during", wait: "20s" });
  expect(repeated).toMatchObject({ status: 200, body: { id: due[0], status: "completed" } });
  expect((await again.run(before.body.id)).body).toEqual(before.body);
  expect(await next.stop()).toBe(0);
  expect(countMissing(left, await readLocalFiles(place.dataFolder, join(place.folder, "copy")))).toBe(0);
}, 120_000);
