import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, expect, test } from "vitest";
import { startVersityGw, type VersityGw } from "../support/versitygw.ts";
import { codeOf, type Answer } from "../support/worker-client.ts";
import { storeEnvironment, WorkerPlace, type WorkerLife } from "../support/worker.ts";

const lag = "holdfast_replication_lag_seconds";
const input = (token: string) => ({ token, steps: 3, ms: 2 });

let folder: string;
let store: VersityGw;
let place: WorkerPlace;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "holdfast-store-lost-"));
  store = await startVersityGw({ folder });
  place = await WorkerPlace.open(storeEnvironment(store, "store-lost"));
});
afterEach(async () => {
  await place.close();
  process.kill(store.pid, "SIGCONT");
  await store.stop();
  await rm(folder, { recursive: true, force: true });
});

interface Loss {
  readonly how: string;
  readonly lose: () => Promise<void>;
  readonly giveBack: () => Promise<void>;
}

const losses: readonly Loss[] = [
  {
    how: "refuses connections",
    lose: () => store.stop(),
    async giveBack() {
      store = await startVersityGw({ folder, port: store.port });
    },
  },
  {
    how: "takes requests and never answers",
    async lose() {
      process.kill(store.pid, "SIGSTOP");
    },
    async giveBack() {
      process.kill(store.pid, "SIGCONT");
    },
  },
];

test.each(losses)(
  "a store that $how shows everywhere and loses nothing; when it is back, everything goes on by itself",
  async ({ lose, giveBack }) => {
    const life = await place.start();
    const client = await life.client("acme");
    const before = await client.start("chain", input("before"), { key: "before", wait: "20s" });
    expect(before).toMatchObject({ status: 200, body: { status: "completed" } });

    await lose();
    expectRefusal(await client.start("chain", input("during"), { key: "during" }));
    expectRefusal(await client.run(before.body.id));
    await soon("the host says that it is not ready", async () => (await readiness(life)) === 503);
    const status = await client.tenant();
    expect(status).toMatchObject({ status: 200, body: { state: "open", replication: { state: "failing" } } });
    const { oldestUndurableAt, error } = status.body.replication;
    expect(Date.now() - Date.parse(oldestUndurableAt ?? "")).toBeGreaterThan(0);
    expect(error).not.toBeNull();
    const early = (await life.metrics()).get(lag) ?? 0;
    await sleep(500);
    const later = (await life.metrics()).get(lag) ?? 0;
    expect(early).toBeGreaterThan(0);
    expect(later).toBeGreaterThan(early);

    await giveBack();
    await soon("the host is ready", async () => (await readiness(life)) === 200);
    await soon("everything is durable and done", async () => {
      const metrics = await life.metrics();
      return metrics.get(lag) === 0 && metrics.get('holdfast_runs{status="running"}') === 0;
    });
    const runs = (await client.runs(null)).body.items;
    expect(runs).toMatchObject([{ input: input("during"), status: "completed" }, { id: before.body.id }]);
    const repeated = await client.start("chain", input("during"), { key: "during" });
    expect(repeated).toMatchObject({ status: 200, body: { id: runs[0]?.id } });
    const { body: after } = await client.tenant();
    expect(after.replication).toMatchObject({ state: "ok", oldestUndurableAt: null, error: null });
  },
  180_000,
);

function expectRefusal(answer: Answer): void {
  expect(answer.status).toBe(503);
  expect(codeOf(answer)).toBe("not_durable");
  expect(Number(answer.headers.get("retry-after"))).toBeGreaterThan(0);
}

async function readiness(life: WorkerLife): Promise<number> {
  return (await fetch(`${life.url}/readyz`)).status;
}

/** Within what the time limits of requests to a store that hangs add up to. */
async function soon(what: string, holds: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 45_000;
  while (!(await holds())) {
    if (performance.now() > deadline) throw new Error(`This did not come true within 45 s: ${what}`);
    await sleep(50);
  }
}
