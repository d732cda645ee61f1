import { expect, test } from "vitest";
import { anyAgent } from "../support/agent.ts";
import { TestEngine } from "../support/engine.ts";

async function twoSteps(durability: "local" | "replicated") {
  const called: string[] = [];
  const engine = await TestEngine.create(
    [
      anyAgent(async ({ step }) => {
        for (const name of ["first", "second"]) await step.run(name, () => void called.push(name));
      }),
    ],
    { durability },
  );
  return { engine, called };
}

test("no step is called before what it rests on is durable", async () => {
  const { engine, called } = await twoSteps("replicated");
  engine.gate.mode = "hold";
  const runId = await engine.start("agent");
  await engine.advance(60_000);
  expect(called).toEqual([]);
  engine.gate.open();
  engine.gate.mode = "hold";
  await engine.settle();
  expect(called).toEqual(["first"]);
  expect(await engine.rows(runId)).toEqual(["run.started", "step.completed first#1"]);
  engine.gate.open();
  expect((await engine.finish(runId)).status).toBe("completed");
  expect(called).toEqual(["first", "second"]);
});

test("at local durability nothing waits for the gate", async () => {
  const { engine, called } = await twoSteps("local");
  engine.gate.mode = "hold";
  const runId = await engine.start("agent");
  expect((await engine.get(runId)).status).toBe("completed");
  expect(called).toEqual(["first", "second"]);
  expect(engine.gate.calls).toBe(0);
});

test.each([
  ["local", undefined, undefined, "local"],
  ["local", "replicated", undefined, "replicated"],
  ["local", undefined, "replicated", "replicated"],
  ["replicated", "local", "local", "replicated"],
] as const)(
  "durability can only be raised: host %s, agent %s, request %s make %s",
  async (host, ofAgent, ofRequest, expected) => {
    const agent = anyAgent(() => 1, ofAgent === undefined ? {} : { durability: ofAgent });
    const engine = await TestEngine.create([agent], { durability: host });
    const { run } = await engine.engine.start({ agent: "agent", input: null, durability: ofRequest });
    expect(run.durability).toBe(expected);
  },
);

test("a gate that refuses is asked again, and the run goes on when it passes", async () => {
  const { engine, called } = await twoSteps("replicated");
  engine.gate.mode = "reject";
  const runId = await engine.start("agent");
  await engine.advance(2_000);
  expect(called).toEqual([]);
  expect(engine.gate.calls).toBeGreaterThan(2);
  expect(engine.log).toContainEqual({ level: "warn", message: expect.stringContaining("not durable yet") });
  expect(await engine.get(runId)).toMatchObject({ status: "running" });
  engine.gate.open();
  expect((await engine.finish(runId)).status).toBe("completed");
  expect(called).toEqual(["first", "second"]);
});

test("a retry and a step after a wait ask the gate too", async () => {
  const attempts: number[] = [];
  const engine = await TestEngine.create([
    anyAgent(async ({ step }) => {
      await step.sleep("rest", "1h");
      await step.run("work", { retry: { maxAttempts: 2, delay: "1m" } }, ({ attempt }) => {
        attempts.push(attempt);
        if (attempt === 1) throw new Error("once");
      });
    }),
  ]);
  const runId = await engine.start("agent");
  engine.gate.mode = "hold";
  await engine.advance(3_600_000);
  expect(attempts).toEqual([]);
  engine.gate.open();
  engine.gate.mode = "hold";
  await engine.advance(60_000);
  expect(attempts).toEqual([1]);
  engine.gate.open();
  expect((await engine.finish(runId)).status).toBe("completed");
  expect(attempts).toEqual([1, 2]);
});

test("a run that was let go while it waited at the gate calls nothing when the gate opens", async () => {
  const { engine, called } = await twoSteps("replicated");
  engine.gate.mode = "hold";
  await engine.start("agent");
  const stopping = engine.engine.stop(0);
  await engine.advance(1);
  expect(await stopping).toMatchObject({ running: 1 });
  engine.gate.open();
  await engine.advance(10_000);
  expect(called).toEqual([]);
});
