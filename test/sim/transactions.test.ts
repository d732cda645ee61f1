import { sql } from "drizzle-orm";
import { expect, test } from "vitest";
import type { Step } from "../../app/engine/agent.ts";
import { hasEnded, type Journal } from "../../app/engine/journal.ts";
import type { HoldfastTransaction } from "../../db/connect.ts";
import { refunds } from "../../db/schema.ts";
import { Random } from "../crash/drill/random.ts";
import { anyAgent } from "../support/agent.ts";
import { TestEngine } from "../support/engine.ts";
import { intercepted } from "../support/intercepted-journal.ts";
import type { Planted } from "./life.ts";
import { plantedBugs } from "./planted-bugs.ts";
import { firstSeed, seeds } from "./seeds.ts";

/** A world with a real file takes as long as some of those without. */
const worlds = Math.ceil(seeds / 16);
const maxLives = 200;
const crashChance = 0.06;
const names = ["a", "b", "c", "d"] as const;

test(
  `in ${worlds} worlds step.tx is applied once in the tenant's real file, from seed ${firstSeed} on`,
  { timeout: 120_000 + worlds * 2_000 },
  async () => {
    let crashes = 0;
    for (let seed = firstSeed; seed < firstSeed + worlds; seed += 1) crashes += await play(seed);
    console.log(`${worlds} worlds on a real file, ${crashes} crashes`);
    expect(crashes).toBeGreaterThan(0);
  },
);

test(
  "a transaction that is committed apart from its row is found on the real file",
  { timeout: 120_000 },
  async () => {
    const planted = plantedBugs["a journal that commits a transaction apart from its row"];
    const found = async (): Promise<void> => {
      for (let seed = 1; seed <= 50; seed += 1) await play(seed, planted);
    };
    await expect(found()).rejects.toThrow(/what was applied is what history tells of/);
  },
);

/** Gives how often the process has crashed. */
async function play(seed: number, planted: Planted = {}): Promise<number> {
  const random = new Random(seed);
  const process = { dead: false };
  const point = async (): Promise<void> => {
    if (random.chance(crashChance)) process.dead = true;
    if (process.dead) await never();
  };
  const apply = (step: Step, name: string): Promise<unknown> =>
    step.tx(name, async (tx: HoldfastTransaction) => {
      const fails = random.chance(0.2);
      await count(tx, name);
      if (random.chance(crashChance)) process.dead = true;
      // Who waits for the transaction of a process that is gone hears nothing of it: see below.
      if (process.dead || fails) throw new Error("the transaction is rolled back");
      await count(tx, `${name} again`);
      return name;
    });
  const agent = anyAgent(
    async ({ step }) => {
      for (const name of names.slice(0, 2))
        await Promise.all([apply(step, name), step.run(`beside ${name}`, point), step.sleep("rest", 5)]);
      return await step.map("map", names.slice(2), (name, branch) => apply(branch.step, name));
    },
    { retry: { maxAttempts: 50, delay: 1, backoff: "fixed" } },
  );
  const wrapJournal = (journal: Journal): Journal => {
    const mortal = intercepted(journal, async (method, call) => {
      if (method !== "append" && method !== "transaction") return await call();
      await point();
      try {
        return await call();
      } finally {
        await point();
      }
    });
    return planted.journal?.(mortal, random) ?? mortal;
  };
  const engine = await TestEngine.create([agent], { wrapJournal });
  let crashes = 0;
  for (let life = 0; life < maxLives; life += 1) {
    if ((await engine.journal.runs({ limit: 1 })).length === 0)
      void engine.engine.start({ agent: "agent", input: null }).catch(() => {});
    await engine.settle();
    const [run] = await engine.journal.runs({ limit: 1 });
    if (run !== undefined) await check(engine, run.id, seed);
    if (run !== undefined && hasEnded(run.status)) break;
    if (!process.dead) {
      await engine.advance(10);
      continue;
    }
    crashes += 1;
    process.dead = false;
    await engine.reopen();
  }
  const [ended] = await engine.journal.runs({ limit: 1 });
  expect(ended?.status, `seed ${seed}`).toBe("completed");
  expect(await counts(engine), `seed ${seed}`).toHaveLength(2 * names.length);
  await engine.remove();
  return crashes;
}

/** What is applied is what history tells of, at every moment. */
async function check(engine: TestEngine, runId: string, seed: number): Promise<void> {
  const told = (await engine.history(runId))
    .filter(({ kind, name }) => kind === "step.completed" && (names as readonly string[]).includes(name))
    .flatMap(({ name }) => [`${name} 1`, `${name} again 1`])
    .toSorted();
  expect(await counts(engine), `seed ${seed}: what was applied is what history tells of`).toEqual(told);
}

async function counts(engine: TestEngine): Promise<readonly string[]> {
  const rows = await engine.connection.db.select().from(refunds);
  return rows.map(({ orderId, amountCents }) => `${orderId} ${amountCents}`).toSorted();
}

async function count(tx: HoldfastTransaction, orderId: string): Promise<void> {
  const row = { orderId, amountCents: 1, status: "open", runId: "run", openedAt: 0 } as const;
  const more = { amountCents: sql`${refunds.amountCents} + 1` };
  await tx.insert(refunds).values(row).onConflictDoUpdate({ target: refunds.orderId, set: more });
}

function never(): Promise<never> {
  return new Promise(() => {});
}
