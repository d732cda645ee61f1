import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, expect, test } from "vitest";
import { openStore } from "../../app/storage/open-store.ts";
import type { ObjectStore } from "../../app/storage/object-store.ts";
import { dueWakes } from "../../app/storage/wakes.ts";
import { isRunning, until } from "../support/litestream.ts";
import { startVersityGw, type VersityGw } from "../support/versitygw.ts";
import { fenceNow } from "../support/storage.ts";
import { codeOf } from "../support/worker-client.ts";
import { storeEnvironment, WorkerPlace, type WorkerLife } from "../support/worker.ts";
import { Ledger } from "./drill/ledger.ts";
import { tenants } from "./drill/plan.ts";
import { whenQuiet } from "./drill/quiet.ts";
import { Random } from "./drill/random.ts";
import { seed } from "./drill/seed.ts";
import { clientOf, clientsOf, Traffic } from "./drill/traffic.ts";
import { Verification } from "./drill/verify.ts";

let server: VersityGw;
let store: ObjectStore;
let place: WorkerPlace;
beforeEach(async () => {
  server = await startVersityGw();
  const { credentials } = server;
  store = openStore(server.storeUrl("stop"), { credentials, baseDir: "/" });
  place = await WorkerPlace.open(storeEnvironment(server, "stop"));
});
afterEach(async () => {
  await place.close();
  await server.stop();
});

test("SIGTERM before the worker serves anything exits 0, with no Litestream and no record that says it lives", async () => {
  const life = place.launch();
  await life.first("litestream.started");
  const litestreams = life.litestreams();
  expect(await life.stop(), life.describe()).toBe(0);
  for (const pid of litestreams) expect(await isRunning(pid)).toBe(false);
  const hosts = await Promise.all((await store.list("hosts/")).map((key) => store.get(key)));
  for (const host of hosts) expect(String(Buffer.from(host?.body ?? ""))).toContain('"fenced"');
});

test("SIGTERM under load exits 0, loses nothing, leaves wakes for what is unfinished and no Litestream", async () => {
  const life = await place.start();
  const ledger = new Ledger();
  const traffic = await load(life, ledger);
  const litestreams = life.litestreams();
  expect(litestreams.length).toBeGreaterThan(0);
  traffic.expectDeath();
  expect(await life.stop(), life.describe()).toBe(0);
  await traffic.ended();
  for (const pid of litestreams) expect(await isRunning(pid)).toBe(false);
  const wakes = await dueWakes(store, Date.now() + 60_000);
  expect(new Set(wakes.map(({ tenantId }) => tenantId))).toEqual(new Set(tenants));

  await goesOn(ledger);
}, 120_000);

test("a host that was fenced answers nothing more, exits 3, and its next life goes on", async () => {
  const life = await place.start();
  const ledger = new Ledger();
  const traffic = await load(life, ledger);
  const input = { token: "waits", ms: 1 };
  ledger.begin({ tenant: "amber", agent: "approval", key: "waits", input }, 0);
  const client = await life.client("amber");
  const waiting = client.start("approval", input, { key: "waits", wait: "30s" });
  await sleep(300);
  const litestreams = life.litestreams();
  const [listening] = life.events("listening");
  traffic.expectDeath();
  await until("the host is fenced", () => fenceNow(store, String(listening?.["host"])));
  const answer = await waiting;
  expect(answer.status).toBe(503);
  expect(codeOf(answer)).toMatch(/^(draining|not_durable)$/);
  expect(answer.headers.has("retry-after")).toBe(true);
  expect(await life.exited, life.describe()).toEqual({ code: 3, signal: null });
  await traffic.ended();
  for (const pid of litestreams) expect(await isRunning(pid)).toBe(false);

  await goesOn(ledger);
}, 120_000);

/** Clients at work on all tenants, each of which has a run that sleeps for some seconds. */
async function load(life: WorkerLife, ledger: Ledger): Promise<Traffic> {
  const clients = await clientsOf(life);
  for (const tenant of tenants) {
    const input = { token: `long-nap-${tenant}`, ms: 1, napMs: 4_000 };
    const nap = ledger.begin({ tenant, agent: "nap", key: input.token, input }, 0);
    const answer = await clientOf(clients, tenant).start("nap", input, { key: input.token });
    expect(answer.status).toBe(202);
    nap.id = answer.body.id;
    nap.acknowledged = true;
  }
  const random = new Random(seed);
  const traffic = new Traffic(clients, ledger, { round: 0, random });
  await sleep(1_000);
  return traffic;
}

/** With nothing left on the disk, a new life brings everything to its end before anybody calls. */
async function goesOn(ledger: Ledger): Promise<void> {
  await place.wipe();
  const next = await place.start();
  await whenQuiet(next, ledger, tenants);
  await new Verification(await clientsOf(next), ledger, 0).everything();
  expect(ledger.violations, `DRILL_SEED=${seed}. ${next.describe()}`).toEqual([]);
}
