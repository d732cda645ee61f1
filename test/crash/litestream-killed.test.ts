import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, expect, test } from "vitest";
import { isRunning, until } from "../support/litestream.ts";
import { startVersityGw, type VersityGw } from "../support/versitygw.ts";
import { storeEnvironment, WorkerPlace } from "../support/worker.ts";
import { Ledger } from "./drill/ledger.ts";
import { whenQuiet } from "./drill/quiet.ts";
import { Random } from "./drill/random.ts";
import { seed } from "./drill/seed.ts";
import { clientsOf, Traffic } from "./drill/traffic.ts";
import { Verification } from "./drill/verify.ts";

const deaths = 5;

let store: VersityGw;
let place: WorkerPlace;
beforeEach(async () => {
  store = await startVersityGw();
  place = await WorkerPlace.open(storeEnvironment(store, "litestream-killed"));
});
afterEach(async () => {
  await place.close();
  await store.stop();
});

test("Litestream may be killed under load: clients see 503 at worst, nothing is lost, and service comes back", async () => {
  const random = new Random(seed);
  const life = await place.start();
  const ledger = new Ledger();
  const traffic = new Traffic(await clientsOf(life), ledger, { round: 0, random });
  for (let death = 0; death < deaths; death += 1) {
    await sleep(random.between(200, 900));
    const [pid] = life.litestreams();
    expect(pid).toBeGreaterThan(0);
    process.kill(pid ?? 0, "SIGKILL");
    await until("Litestream is dead", async () => !(await isRunning(pid ?? 0)));
    await until("another Litestream is up", async () => {
      const [next] = life.litestreams();
      // The worker may not have noticed the death yet.
      return next !== undefined && next !== pid && (await ready(life.url));
    });
  }
  const before = countAcknowledged(ledger);
  await until("service has come back", () => countAcknowledged(ledger) > before);
  await traffic.finish();
  const acknowledged = countAcknowledged(ledger);
  await whenQuiet(life, ledger);
  await new Verification(await clientsOf(life), ledger, 0).everything();
  expect(ledger.violations, `DRILL_SEED=${seed}. ${life.describe()}`).toEqual([]);

  // What was acknowledged between the deaths is in the store, and not only here.
  await life.killHard();
  await place.wipe();
  const next = await place.start();
  await whenQuiet(next, ledger);
  await new Verification(await clientsOf(next), ledger, 0).everything();
  expect(ledger.violations, `DRILL_SEED=${seed}. ${next.describe()}`).toEqual([]);
  console.info(JSON.stringify({ deaths, acknowledged, refused: ledger.refused }));
}, 180_000);

async function ready(url: string): Promise<boolean> {
  return (await fetch(`${url}/readyz`)).status === 200;
}

function countAcknowledged({ runs }: Ledger): number {
  return runs.filter(({ acknowledged }) => acknowledged).length;
}
