import { expect, test } from "vitest";
import type { RunContext } from "../../app/engine/agent.ts";
import { anyAgent } from "../support/agent.ts";
import { TestEngine } from "../support/engine.ts";

type Handler = (context: RunContext<unknown>, called: string[]) => Promise<unknown>;

/** Runs `before` until it waits, then `after` over its history; gives what ran under the new code. */
async function change(before: Handler, after: Handler) {
  const called: string[] = [];
  const engine = await TestEngine.create([anyAgent((context) => before(context, []))]);
  const runId = await engine.start("agent");
  const rowsBefore = await engine.rows(runId);
  await engine.reopen({ agents: [anyAgent((context) => after(context, called))] });
  const run = await engine.finish(runId);
  return { engine, runId, run, called, rowsBefore, rows: await engine.rows(runId) };
}

async function twoSteps({ step }: RunContext<unknown>): Promise<void> {
  await step.run("first", () => 1);
  await step.run("second", () => 2);
  await step.sleep("pause", "1h");
}

test.each<[string, Handler, RegExp]>([
  [
    "whose first step was removed",
    async ({ step }) => {
      await step.run("second", () => 2);
      await step.sleep("pause", "1h");
    },
    /step "first" \(step\.completed at row 2\), which the code did not ask for/,
  ],
  [
    "whose first step was renamed",
    async ({ step }, called) => {
      await step.run("renamed", () => called.push("renamed"));
      await step.run("second", () => called.push("second"));
    },
    /asks for step "renamed", history has step "first" \(step\.completed at row 2\)/,
  ],
  [
    "that has a step before the recorded ones",
    async (context, called) => {
      await context.step.run("new", () => called.push("new"));
      await twoSteps(context);
    },
    /asks for step "new", history has step "first"/,
  ],
  [
    "that ends early",
    async ({ step }) => {
      await step.run("first", () => 1);
    },
    /ended without asking for step "second"/,
  ],
  [
    "that asks for a step as a sleep",
    async ({ step }) => {
      await step.sleep("first", 1);
      await step.run("second", () => 2);
    },
    /asks for sleep "first", history has a step/,
  ],
  [
    "that asks for a sleep as a signal",
    async ({ step }) => {
      await step.run("first", () => 1);
      await step.run("second", () => 2);
      await step.waitForSignal("pause", { signal: "go" });
    },
    /asks for signal "pause", history has a sleep/,
  ],
  [
    "that goes another way where it slept",
    async ({ step }, called) => {
      await step.run("first", () => 1);
      await step.run("second", () => 2);
      await step.run("instead", () => called.push("instead"));
    },
    /asks for step "instead", history has sleep "pause" \(sleep\.started at row 4\)/,
  ],
])("code %s pauses the run, says why, and runs nothing", async (_what, after, reason) => {
  const { run, called, rows, rowsBefore } = await change(twoSteps, after);
  expect(called).toEqual([]);
  expect(run.status).toBe("paused");
  expect(run.error).toMatchObject({ name: "MismatchError" });
  expect(run.error?.message).toMatch(reason);
  expect(rows).toEqual([...rowsBefore, "run.paused"]);
});

test("a paused run stays as it is over a restart", async () => {
  const { engine, runId, rows } = await change(twoSteps, async () => {});
  await engine.reopen();
  await engine.advance(10_000);
  expect(await engine.rows(runId)).toEqual(rows);
  expect((await engine.get(runId)).status).toBe("paused");
});

test("new steps behind the recorded ones are run", async () => {
  const { run, called } = await change(twoSteps, async (context, done) => {
    await twoSteps(context);
    await context.step.run("third", () => done.push("third"));
  });
  expect(called).toEqual(["third"]);
  expect(run.status).toBe("completed");
});

test("a new step is held back until every recorded step was handed out", async () => {
  const calls: string[] = [];
  const { run } = await change(twoSteps, async ({ step }) => {
    const early = step.run("early", () => void calls.push("early"));
    const recorded = ["first", "second"].map(async (name) => {
      await step.run(name, () => 0);
      calls.push(name);
    });
    await Promise.all([early, ...recorded, step.sleep("pause", "1h")]);
  });
  expect(calls).toEqual(["first", "second", "early"]);
  expect(run.status).toBe("completed");
});

test("code that takes its time between recorded steps is not taken for changed code", async () => {
  const { run } = await change(twoSteps, async ({ step }) => {
    await step.run("first", () => 1);
    for (let turns = 0; turns < 5; turns += 1) await new Promise((resolve) => setImmediate(resolve));
    await step.run("second", () => 2);
    await step.sleep("pause", "1h");
  });
  expect(run.status).toBe("completed");
});

test("time that passes while the code cannot go on does not make it changed code", async () => {
  const before = anyAgent(twoSteps);
  const engine = await TestEngine.create([before]);
  const runId = await engine.start("agent");
  const after = anyAgent(async ({ step }) => {
    await step.run("first", () => 1);
    await new Promise((resolve) => setImmediate(resolve));
    // As if something else had kept the event loop busy for a minute.
    engine.clock.jump(60_000);
    await new Promise((resolve) => setImmediate(resolve));
    const second = step.run("second", () => 2);
    await Promise.all([second, step.sleep("pause", "1h")]);
  });
  await engine.reopen({ agents: [after] });
  expect((await engine.finish(runId)).status).toBe("completed");
});

test("a run whose agent is missing waits untouched, and goes on when the agent is back", async () => {
  const agent = anyAgent(twoSteps);
  const engine = await TestEngine.create([agent]);
  const runId = await engine.start("agent");
  const before = { run: await engine.get(runId), rows: await engine.rows(runId) };
  await engine.reopen({ agents: [] });
  await engine.advance(24 * 3_600_000);
  expect({ run: await engine.get(runId), rows: await engine.rows(runId) }).toEqual(before);
  expect(engine.log).toContainEqual({ level: "error", message: expect.stringContaining("agent is not in") });
  expect(engine.engine.activity()).toMatchObject({ unfinished: 1, running: 0 });
  await engine.reopen({ agents: [agent] });
  expect((await engine.finish(runId)).status).toBe("completed");
});
