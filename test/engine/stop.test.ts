import { expect, test } from "vitest";
import { EngineStoppedError } from "../../app/engine/errors.ts";
import { anyAgent } from "../support/agent.ts";
import { TestEngine } from "../support/engine.ts";
import { HeldAnswers, intercepted } from "../support/intercepted-journal.ts";

test("attempts under way end and are recorded, none starts, and nothing is written afterwards", async () => {
  const started: string[] = [];
  const engine = await TestEngine.create([
    anyAgent(async ({ step }) => {
      await step.run("first", async () => {
        started.push("first");
        await engine.clock.wait(1_000);
      });
      await step.run("second", () => void started.push("second"));
    }),
  ]);
  const runId = await engine.start("agent");
  const stopping = engine.engine.stop(5_000);
  await engine.advance(2_000);
  expect(await stopping).toMatchObject({ unfinished: 1, running: 1 });
  expect(started).toEqual(["first"]);
  const { commits } = engine.connection;
  const rows = await engine.rows(runId);
  expect(rows).toEqual(["run.started", "step.completed first#1"]);
  await engine.advance(3_600_000);
  expect(engine.connection.commits).toBe(commits);
  expect(engine.timers).toBe(0);
  await engine.reopen();
  expect((await engine.finish(runId)).status).toBe("completed");
  expect(started).toEqual(["first", "second"]);
});

test("an attempt that does not end within the grace is let go, told so, and runs again elsewhere", async () => {
  const attempts: { attempt: number; signal: AbortSignal; idempotencyKey: string }[] = [];
  const engine = await TestEngine.create([
    anyAgent(async ({ step }) => {
      await step.run("slow", async (context) => {
        attempts.push(context);
        await engine.clock.wait(attempts.length === 1 ? 60_000 : 0);
      });
    }),
  ]);
  const runId = await engine.start("agent");
  const stopping = engine.engine.stop(5_000);
  await engine.advance(5_000);
  expect(await stopping).toMatchObject({ running: 1 });
  expect(attempts[0]?.signal.aborted).toBe(true);
  const { commits } = engine.connection;
  await engine.advance(120_000);
  expect(engine.connection.commits).toBe(commits);
  await engine.reopen();
  expect((await engine.finish(runId)).status).toBe("completed");
  expect(attempts.map(({ attempt }) => attempt)).toEqual([1, 1]);
  expect(attempts[1]?.idempotencyKey).toBe(attempts[0]?.idempotencyKey);
});

test.each(["local", "replicated"] as const)(
  "a step that was about to start when the engine stopped does not start (%s)",
  async (durability) => {
    const started: string[] = [];
    const engine = await TestEngine.create(
      [
        anyAgent(async ({ step }) => {
          await step.waitForSignal("wait", { signal: "go" });
          await step.run("step", () => void started.push("step"));
        }),
      ],
      { durability },
    );
    // At some of these moments the step has just been allowed.
    for (let microtasks = 0; microtasks < 40; microtasks += 1) {
      const { run } = await engine.engine.start({ agent: "agent", input: null });
      await engine.settle();
      started.length = 0;
      await engine.engine.signal(run.id, { name: "go", payload: null });
      for (let turns = 0; turns < 3; turns += 1) await new Promise((resolve) => setImmediate(resolve));
      for (let count = 0; count < microtasks; count += 1) await Promise.resolve();
      let startedBefore = -1;
      const stopped = engine.engine.stop(0);
      startedBefore = started.length;
      await engine.advance(10);
      await stopped;
      expect(started).toHaveLength(startedBefore);
      await engine.reopen();
    }
  },
);

test("once it stops nothing is taken in, and nothing is written for it", async () => {
  const engine = await TestEngine.create([
    anyAgent(async ({ step }) => await step.waitForSignal("wait", { signal: "go" })),
  ]);
  const runId = await engine.start("agent");
  await engine.engine.stop(0);
  const { commits } = engine.connection;
  await expect(engine.engine.start({ agent: "agent", input: 1 })).rejects.toThrow(EngineStoppedError);
  await expect(engine.engine.signal(runId, { name: "go", payload: 1 })).rejects.toThrow(EngineStoppedError);
  await expect(engine.engine.ended(runId, 60_000)).rejects.toThrow(EngineStoppedError);
  expect(engine.connection.commits).toBe(commits);
  expect(engine.timers).toBe(0);
});

test("a signal that is being written while the engine stops is left to be done at once", async () => {
  const holding = new HeldAnswers("append");
  const engine = await TestEngine.create(
    [anyAgent(async ({ step }) => await step.waitForSignal("wait", { signal: "go" }))],
    { wrapJournal: holding.wrap },
  );
  const runId = await engine.start("agent");
  holding.hold();
  const sent = engine.engine.signal(runId, { name: "go", payload: 1 });
  await holding.reached;
  const stopping = engine.engine.stop(0);
  await engine.settle();
  holding.letGo();
  await engine.advance(1);
  expect(await sent).toMatchObject({ created: true });
  expect(await stopping).toMatchObject({ unfinished: 1, running: 1 });
});

test("a run that is being created while the engine stops is left to be done at once", async () => {
  const holding = new HeldAnswers("append");
  const engine = await TestEngine.create([anyAgent(() => 1)], { wrapJournal: holding.wrap });
  holding.hold();
  const started = engine.engine.start({ agent: "agent", input: null });
  await holding.reached;
  const stopping = engine.engine.stop(0);
  await engine.settle();
  holding.letGo();
  await engine.advance(1);
  expect(await started).toMatchObject({ created: true });
  expect(await stopping).toMatchObject({ unfinished: 1, running: 1 });
  expect(engine.engine.unfinished).toBe(1);
});

test("a run whose history is being read while the engine stops is left to be done at once", async () => {
  const holding = new HeldAnswers("history");
  const engine = await TestEngine.create(
    [
      // Cut off in the middle of a step, it is taken up at once.
      anyAgent(({ step }) => step.run("work", () => new Promise(() => {}))),
    ],
    { wrapJournal: holding.wrap },
  );
  await engine.start("agent", 1);
  await engine.start("agent", 2);
  await engine.reopenUnopened();
  holding.hold();
  await engine.engine.open();
  await holding.reached;
  const stopping = engine.engine.stop(0);
  await engine.settle();
  holding.letGo();
  expect(await stopping).toMatchObject({ unfinished: 2, running: 2 });
});

test("a run whose end is being written while the engine stops has ended, or is left to be done at once", async () => {
  let appends = 0;
  let failing = true;
  const engine = await TestEngine.create([anyAgent(() => 1)], {
    wrapJournal: (journal) =>
      intercepted(journal, async (method, call) => {
        // The run can be created, and that is all.
        if (method === "append" && (appends += 1) > 1 && failing) throw new Error("The disk is full.");
        return await call();
      }),
  });
  const runId = await engine.start("agent");
  const stopping = engine.engine.stop(1_000);
  await engine.advance(1_000);
  expect(await stopping).toMatchObject({ unfinished: 1, running: 1 });
  failing = false;
  await engine.reopen();
  expect((await engine.finish(runId)).status).toBe("completed");
});

test("a stop waits for the end that is being written", async () => {
  const engine = await TestEngine.create([
    anyAgent(({ step }) => step.waitForSignal("wait", { signal: "go" })),
  ]);
  for (let turns = 0; turns < 12; turns += 1) {
    const runId = await engine.start("agent");
    await engine.engine.signal(runId, { name: "go", payload: null });
    for (let turn = 0; turn < turns; turn += 1) await new Promise((resolve) => setImmediate(resolve));
    const stopping = engine.engine.stop(60_000);
    await engine.settle();
    const left = await stopping;
    const { status } = await engine.journal.run(runId).then((run) => run ?? { status: "gone" });
    expect(left.running, `${turns} turns: ${status}`).toBe(status === "completed" ? 0 : 1);
    await engine.reopen();
    await engine.finish(runId);
  }
});

test("what is left says when the next wait ends", async () => {
  const engine = await TestEngine.create([anyAgent(({ step }) => step.sleep("rest", "1h"))]);
  await engine.start("agent");
  const { run } = await engine.engine.start({ agent: "agent", input: null, delayMs: 60_000 });
  await engine.settle();
  expect(run.status).toBe("queued");
  expect(await engine.engine.stop(0)).toEqual({
    unfinished: 2,
    running: 0,
    nextWakeAt: engine.clock.now() + 60_000,
  });
  expect(engine.timers).toBe(0);
});
