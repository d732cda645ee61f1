import { expect, test } from "vitest";
import { hasEnded } from "../../app/engine/journal.ts";
import { anyAgent } from "../support/agent.ts";
import { TestEngine } from "../support/engine.ts";
import { intercepted } from "../support/intercepted-journal.ts";

const seed = Date.now() % 2 ** 31;

/** Numbers from 0 to 1, the same for the same seed (Park and Miller's generator). */
function randomFrom(start: number): () => number {
  let state = (start % 2_147_483_646) + 1;
  return () => (state = (state * 48_271) % 2_147_483_647) / 2_147_483_647;
}

test("nothing is recorded after a run's end, whatever its un-awaited calls do", async () => {
  const signals: AbortSignal[] = [];
  const engine = await TestEngine.create([
    anyAgent(async ({ step }) => {
      const hurry = step.run("slow", async ({ signal }) => {
        signals.push(signal);
        await engine.clock.wait(1_000);
      });
      void hurry.then(() => step.run("after it", () => 1));
      void step.sleep("sleep", 500);
      void step.waitForSignal("wait", { signal: "go", timeout: 700 });
      void step
        .run("failing", { retry: { maxAttempts: 3, delay: 100 } }, () => Promise.reject(new Error("no")))
        .catch(() => {});
      await step.run("fast", () => 1);
    }),
  ]);
  const runId = await engine.start("agent");
  const rows = await engine.rows(runId);
  expect(rows.at(-1)).toBe("run.completed");
  const { commits } = engine.connection;
  await engine.advance(10_000);
  expect(await engine.rows(runId)).toEqual(rows);
  expect(engine.connection.commits).toBe(commits);
  expect(signals.map(({ aborted }) => aborted)).toEqual([true]);
  expect(engine.timers).toBe(0);
});

test("a call that is made after the run's end never settles", async () => {
  let late = "not settled";
  const engine = await TestEngine.create([
    anyAgent(({ step }) => {
      engine.clock.setTimer(engine.clock.now() + 1_000, () => {
        step
          .run("late", () => (late = "called"))
          .then(
            () => (late = "resolved"),
            () => (late = "rejected"),
          );
      });
    }),
  ]);
  const runId = await engine.start("agent");
  await engine.advance(2_000);
  expect(late).toBe("not settled");
  expect(await engine.rows(runId)).toEqual(["run.started", "run.completed"]);
});

test("rows have no gaps although hundreds of branches write at the same time", async () => {
  const engine = await TestEngine.create([
    anyAgent(({ step }) =>
      Promise.all(
        Array.from({ length: 200 }, async (_none, index) => {
          await step.run("work", () => engine.clock.wait(index % 7));
          await step.sleep("rest", index % 5);
          return await step.run("work", () => index);
        }),
      ),
    ),
  ]);
  const runId = await engine.start("agent");
  const run = await engine.finish(runId);
  expect(run.output).toEqual(Array.from({ length: 200 }, (_none, index) => index));
  const seqs = (await engine.history(runId)).map(({ seq }) => seq);
  expect(seqs).toEqual(Array.from({ length: 200 * 4 + 2 }, (_none, index) => index + 1));
});

test(`writes that fail are repeated: the run goes on, without gaps and doing nothing twice (seed ${seed})`, async () => {
  const random = randomFrom(seed);
  const calls: string[] = [];
  let failures = 0;
  const engine = await TestEngine.create(
    [
      anyAgent(async ({ step }) => {
        const branches = Array.from({ length: 10 }, async (_none, index) => {
          for (let round = 0; round < 4; round += 1) {
            await step.run(`step ${index}`, async () => {
              calls.push(`${index} ${round}`);
              await engine.clock.wait(10);
            });
            await step.sleep("rest", 5);
          }
        });
        await Promise.all(branches);
        return (await step.waitForSignal("wait", { signal: "go" }))?.payload;
      }),
    ],
    {
      wrapJournal: (journal) =>
        intercepted(journal, async (method, call) => {
          if (method === "append" && calls.length > 0 && random() < 0.4) {
            failures += 1;
            throw new Error("The disk is full.");
          }
          return await call();
        }),
    },
  );
  const runId = await engine.start("agent");
  await engine.finish(runId);
  // A signal that could not be written is refused, and its sender sends it again.
  for (let tries = 0; tries < 50; tries += 1) {
    const sent = await engine.engine
      .signal(runId, { name: "go", payload: "go", idempotencyKey: "k" })
      .catch(() => null);
    if (sent !== null) break;
  }
  const run = await engine.finish(runId);
  expect(run).toMatchObject({ status: "completed", output: "go" });
  expect(failures).toBeGreaterThan(0);
  expect(calls).toHaveLength(40);
  expect(new Set(calls).size).toBe(40);
  const seqs = (await engine.history(runId)).map(({ seq }) => seq);
  expect(seqs).toEqual(seqs.map((_seq, index) => index + 1));
});

test(`a host full of runs ends every one of them over crashes at any moment (seed ${seed})`, async () => {
  const random = randomFrom(seed);
  const engine = await TestEngine.create([
    anyAgent(async ({ step, input }) => {
      const n = input as number;
      const sum = await Promise.all(
        [1, 2, 3].map((each) =>
          step.run("part", async () => {
            await engine.clock.wait(each * 7);
            return each * n;
          }),
        ),
      );
      await step.sleep("rest", 20 + n);
      return sum;
    }),
  ]);
  const ids = await Promise.all(
    Array.from(
      { length: 30 },
      async (_none, n) => (await engine.engine.start({ agent: "agent", input: n })).run.id,
    ),
  );
  for (let crash = 0; crash < 8; crash += 1) {
    await engine.clock.advance(Math.floor(random() * 15), async () => {
      for (let turns = Math.floor(random() * 10); turns > 0; turns -= 1)
        await new Promise((resolve) => setImmediate(resolve));
    });
    await engine.reopen();
  }
  for (const [n, id] of ids.entries()) {
    const run = await engine.finish(id);
    expect(hasEnded(run.status)).toBe(true);
    expect(run.output).toEqual([n, 2 * n, 3 * n]);
    const rows = await engine.history(id);
    expect(rows.map(({ seq }) => seq)).toEqual(rows.map((_row, index) => index + 1));
    expect(rows.filter(({ kind }) => kind === "step.completed")).toHaveLength(3);
  }
  expect(engine.engine.activity()).toEqual({ unfinished: 0, running: 0, nextWakeAt: null });
});
