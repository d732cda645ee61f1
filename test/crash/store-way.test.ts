import { afterEach, beforeEach, expect, test } from "vitest";
import { FaultProxy } from "../support/fault-proxy.ts";
import { until } from "../support/litestream.ts";
import { startVersityGw, type VersityGw } from "../support/versitygw.ts";
import { codeOf } from "../support/worker-client.ts";
import { storeEnvironment, WorkerPlace } from "../support/worker.ts";

let store: VersityGw;
let way: FaultProxy;
let place: WorkerPlace;
beforeEach(async () => {
  store = await startVersityGw();
  way = await FaultProxy.start(store);
  const settings = { ...storeEnvironment(store, "way"), HOLDFAST_STORE: way.storeUrl("way") };
  place = await WorkerPlace.open(settings);
});
afterEach(async () => {
  await place.close();
  await way.close();
  await store.stop();
});

const faults = [
  { name: "answers are lost", begin: async () => way.strike("reset-after"), end: async () => way.heal() },
  { name: "requests arrive late", begin: async () => way.strike("held"), end: async () => way.heal() },
  { name: "the way is cut off", begin: () => way.cutOff(), end: () => way.restore() },
];

test.each(faults)(
  "while $name a real worker acknowledges nothing, and it goes on with everything when that is over",
  async ({ begin, end }) => {
    const life = await place.start();
    const client = await life.client("acme");
    const input = { token: "t", steps: 2, ms: 1 };
    const before = await client.start("chain", input, { key: "before", wait: "30s" });
    expect(before.status, life.describe()).toBe(200);

    await begin();
    const during = await client.start("chain", input, { key: "during" });
    expect([during.status, codeOf(during)]).toEqual([503, "not_durable"]);

    await end();
    await until("the run that was not acknowledged is", async () => {
      const { status, body } = await client.start("chain", input, { key: "during" });
      return status === 200 && body.status === "completed";
    });
    expect((await client.runs(null)).body.items).toHaveLength(2);
  },
  240_000,
);
