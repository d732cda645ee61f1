import { expect, test } from "vitest";
import { EngineStoppedError, RunNotFoundError } from "../../app/engine/errors.ts";
import { anyAgent } from "../support/agent.ts";
import { TestEngine } from "../support/engine.ts";

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
