import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { WorkerHost } from "../../app/host/worker-host.ts";
import { randomFrom } from "../fakes/faulty-store.ts";
import { until } from "../support/litestream.ts";
import { agentOf, hosted, HostWorkspace } from "../support/host.ts";
import { readFacts, writeFact } from "../support/storage.ts";

const lifeMs = 700;
const lives = 10;

let workspace: HostWorkspace;

beforeEach(async () => {
  workspace = await HostWorkspace.open();
});

afterEach(() => workspace.close());

/** What clients were told, and what was seen of it. */
class Ledger {
  readonly acknowledged = new Set<string>();
  /** An acknowledged fact that an answer of a later request, which was let out, lacked. */
  readonly missing: string[] = [];
  /** Epochs in which something was acknowledged, by the file object that did. */
  readonly epochs = new Map<number, object>();
  readonly shared: number[] = [];

  sawFile(epoch: number, file: object): void {
    if ((this.epochs.get(epoch) ?? file) !== file) this.shared.push(epoch);
    this.epochs.set(epoch, file);
  }
}

test("whatever the store does and whenever hosts die, nothing acknowledged is lost and no epoch has two owners", async () => {
  const seed = Number(process.env["HOLDFAST_SEED"] ?? Math.floor(Math.random() * 1e9));
  const random = randomFrom(seed);
  const ledger = new Ledger();
  const agents = [
    agentOf("stepper", async ({ step }) => {
      for (let count = 0; count < 5; count += 1) await step.run(`step ${count}`, () => sleep(5));
      return "done";
    }),
  ];
  const runs = new Set<string>();
  let clients = 0;

  async function client(host: WorkerHost, end: number): Promise<void> {
    const id = (clients += 1);
    for (let request = 0; Date.now() < end; request += 1) {
      const fact = `${id}-${request}`;
      const known = [...ledger.acknowledged];
      await host
        .use("acme", async (tenant) => {
          const { file } = hosted(tenant);
          await writeFact(file, fact);
          const { run } = await tenant.runs.start({ agent: "stepper", input: null });
          const seen = new Set(await readFacts(file));
          await tenant.durable();
          ledger.sawFile(file.epoch, file);
          ledger.missing.push(...known.filter((one) => !seen.has(one)));
          ledger.acknowledged.add(fact);
          runs.add(run.id);
        })
        .catch(() => {});
      await sleep(random() * 30);
    }
  }

  for (let life = 0; life < lives; life += 1) {
    workspace.store.atRandom(seed + life, {});
    await workspace.tenants.litestream.ready(20_000);
    const host = await workspace.host({ agents, idleMs: life % 3 === 0 ? 50 : 5_000 });
    workspace.store.atRandom(seed + life, { lost: 0.03, unanswered: 0.03, late: 0.03, doubled: 0.05 });
    const end = Date.now() + lifeMs;
    const working = Array.from({ length: 4 }, () => client(host, end));
    const late = setInterval(() => void workspace.store.deliverLate(), 90);
    await sleep(lifeMs * (0.5 + random() / 2));
    const how = random();
    if (how < 0.3) await host.drain();
    await workspace.kill(host);
    await Promise.all(working);
    clearInterval(late);
    if (random() < 0.4) await workspace.wipe();
  }

  workspace.store.atRandom(0, {});
  await workspace.store.deliverLate();
  await workspace.wipe();
  await workspace.tenants.litestream.ready(20_000);
  const last = await workspace.host({ agents });
  await until("the tenant opens", () => last.use("acme", async () => true).catch(() => false));
  const left = new Set(await last.use("acme", (tenant) => readFacts(hosted(tenant).file)));
  const lost = [...ledger.acknowledged].filter((fact) => !left.has(fact));
  const { missing, shared } = ledger;
  expect({ lost, missing, shared }, `HOLDFAST_SEED=${seed}`).toEqual({ lost: [], missing: [], shared: [] });
  await until(`all runs end, with HOLDFAST_SEED=${seed}`, () =>
    last.use("acme", async (tenant) => {
      const found = await Promise.all([...runs].map((id) => tenant.runs.get(id)));
      return found.every(({ status }) => status === "completed");
    }),
  );
  expect(ledger.acknowledged.size, `HOLDFAST_SEED=${seed}`).toBeGreaterThan(20);
}, 120_000);
