import { afterEach, beforeEach, expect, test } from "vitest";
import { FlyApp } from "./app.ts";

let app: FlyApp;
beforeEach(async () => {
  app = await FlyApp.open();
});
afterEach(() => app.close());

test("a request starts a stopped Machine, and finds what an earlier life of it has acknowledged, though its disk is fresh", async () => {
  const machine = await app.create("fra");
  await machine.start();
  const client = await app.client(await app.proxy.listen("ams"), "acme");
  const started = await client.start("chain", { token: "t", steps: 2, ms: 1 }, { key: "k", wait: "30s" });
  expect(started.status, machine.life.describe()).toBe(200);

  await machine.stop();
  expect(await machine.life.exited).toMatchObject({ code: 0 });
  expect(machine.processes()).toEqual([]);

  const again = await client.run(started.body.id);
  expect(again.body).toMatchObject({ status: "completed", output: started.body.output });
  expect(machine.lives).toHaveLength(2);
  expect(app.proxy.deliveries.map(({ edge }) => edge)).toEqual(["ams", "ams"]);
}, 240_000);

test("a worker that crashes is started again by its Machine, and one that is frozen goes on where it was", async () => {
  const machine = await app.create("fra");
  await machine.start();
  const client = await app.client(await app.proxy.listen("fra"), "acme");
  const started = await client.start("chain", { token: "t", steps: 2, ms: 1 }, { key: "k", wait: "30s" });
  await machine.crash();
  expect((await client.run(started.body.id)).body).toMatchObject({ status: "completed" });
  expect(machine.lives).toHaveLength(2);

  await machine.suspend();
  expect((await client.run(started.body.id)).body).toMatchObject({ status: "completed" });
  expect(machine.lives).toHaveLength(2);
}, 240_000);

test("a request that comes to another Machine than its tenant's is replayed to that one, or proxied if it came around Fly's proxy", async () => {
  const [fra, syd] = [await app.create("fra"), await app.create("syd")];
  for (const machine of [fra, syd]) await machine.start();
  for (const machine of [fra, syd]) await machine.life.first("listening");
  const near = await app.client(await app.proxy.listen("fra"), "acme");
  const started = await near.start("chain", { token: "t", steps: 2, ms: 1 }, { key: "k", wait: "30s" });
  expect(started.status, fra.life.describe()).toBe(200);

  const far = await app.client(await app.proxy.listen("syd"), "acme");
  const repeated = await far.start("chain", { token: "t", steps: 2, ms: 1 }, { key: "k" });
  expect(repeated.body, syd.life.describe()).toMatchObject({ id: started.body.id, status: "completed" });
  expect(app.proxy.deliveries.map(({ machine }) => machine)).toEqual([fra.id, syd.id, fra.id]);

  const neighbour = await app.client(syd.url, "acme");
  const around = await neighbour.start("chain", { token: "t", steps: 2, ms: 1 }, { key: "k" });
  expect(around.body, syd.life.describe()).toMatchObject({ id: started.body.id, status: "completed" });
  expect(around.headers.get("holdfast-host")).toBe(repeated.headers.get("holdfast-host"));
  expect(app.proxy.deliveries).toHaveLength(3);
}, 240_000);
