import { expect, test } from "vitest";
import { EngineStoppedError, RunNotFoundError } from "../../app/engine/errors.ts";
import { anyAgent } from "../support/agent.ts";
import { TestEngine } from "../support/engine.ts";
import { intercepted } from "../support/intercepted-journal.ts";

const rests = anyAgent(({ step }) => step.sleep("rest", 5_000));

test("who waits for a run's end is told when it has ended, and leaves no timer", async () => {
  const engine = await TestEngine.create([rests]);
  const runId = await engine.start("agent");
  const waits = Array.from({ length: 20 }, () => engine.engine.ended(runId, 60_000));
  await engine.advance(5_000);
  for (const wait of waits) expect(await wait).toMatchObject({ status: "completed" });
  expect(engine.timers).toBe(0);
  expect(await engine.engine.ended(runId, 60_000)).toMatchObject({ status: "completed" });
  expect(engine.timers).toBe(0);
});

test("a wait that is over gives the run as it is", async () => {
  const engine = await TestEngine.create([rests]);
  const runId = await engine.start("agent");
  const wait = engine.engine.ended(runId, 1_000);
  await engine.advance(1_000);
  expect(await wait).toMatchObject({ status: "sleeping" });
  expect(await engine.engine.ended(runId, 0)).toMatchObject({ status: "sleeping" });
  // The sleep's, and the one after which a run that only waits leaves memory.
  expect(engine.timers).toBe(2);
});

test("a wait for a run that there is not is refused, and leaves no timer", async () => {
  const engine = await TestEngine.create([rests]);
  await expect(engine.engine.ended("nobody", 60_000)).rejects.toThrow(RunNotFoundError);
  expect(engine.timers).toBe(0);
});

test("a wait ends when the engine stops", async () => {
  const engine = await TestEngine.create([rests]);
  const runId = await engine.start("agent");
  const wait = engine.engine.ended(runId, 60_000);
  const [outcome] = await Promise.allSettled([wait, engine.engine.stop(0)]);
  expect(outcome).toMatchObject({ status: "rejected", reason: expect.any(EngineStoppedError) });
  expect(engine.timers).toBe(0);
});

test("a run that ends while its waiter reads it is not waited for", async () => {
  const engine = await TestEngine.create([anyAgent(() => 1)]);
  for (let turns = 0; turns < 8; turns += 1) {
    const { run } = await engine.engine.start({ agent: "agent", input: null });
    for (let turn = 0; turn < turns; turn += 1) await new Promise((resolve) => setImmediate(resolve));
    const ended = engine.engine.ended(run.id, 60_000);
    await engine.settle();
    expect(engine.timers).toBe(0);
    expect(await ended).toMatchObject({ status: "completed" });
  }
});

test("who waits for a run's end is told just what a read gives", async () => {
  const agents = [
    anyAgent(async ({ step, run }) => {
      run.setState({ at: [1] });
      await step.sleep("rest", 20_000);
      return { list: [1, undefined, -0], gone: undefined };
    }),
    anyAgent(({ run }) => run.setState({ done: true }), { id: "nothing" }),
    anyAgent(
      () => {
        throw new Error("No.", { cause: new TypeError("Never.") });
      },
      { id: "fails" },
    ),
    anyAgent(({ step }) => step.sleep("rest", 60_000), { id: "paused" }),
    anyAgent(({ step }) => step.sleep("rest", 60_000), { id: "cancelled" }),
  ];
  const engine = await TestEngine.create(agents);
  for (const agent of ["agent", "nothing", "fails", "paused", "cancelled"]) {
    const { run } = await engine.engine.start({ agent, input: { for: agent } });
    const ended = engine.engine.ended(run.id, 60_000);
    await engine.settle();
    // It has left memory by then, and comes back.
    if (agent === "agent") await engine.advance(20_000);
    if (agent === "paused") await engine.engine.pause(run.id);
    if (agent === "cancelled") await engine.engine.cancel(run.id);
    expect(await ended, agent).toStrictEqual(await engine.engine.get(run.id));
  }
});

test("nothing is read for who waited when a run ended", async () => {
  const read: string[] = [];
  const engine = await TestEngine.create([anyAgent(() => "done")], {
    wrapJournal: (journal) =>
      intercepted(journal, (method, call) => {
        if (method !== "append") read.push(method);
        return call();
      }),
  });
  const { run } = await engine.engine.start({ agent: "agent", input: null });
  read.length = 0;
  expect(await engine.engine.ended(run.id, 60_000)).toMatchObject({ status: "completed", output: "done" });
  expect(read).toEqual([]);
});
