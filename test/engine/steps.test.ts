import { expect, test } from "vitest";
import type { StepOptions } from "../../app/engine/agent.ts";
import { NonRetryableError, RetryAfterError, StepError } from "../../app/engine/errors.ts";
import { anyAgent } from "../support/agent.ts";
import { TestEngine } from "../support/engine.ts";

interface Attempt {
  readonly attempt: number;
  readonly at: number;
  readonly idempotencyKey: string;
}

/** A run of one step, `work`, which is told every attempt; then the run rests for an hour. */
async function oneStep(options: StepOptions, work: (attempt: Attempt, engine: TestEngine) => unknown) {
  const attempts: Attempt[] = [];
  const engine = await TestEngine.create([
    anyAgent(async ({ step }) => {
      let result: unknown;
      try {
        result = await step.run("work", options, async ({ attempt, idempotencyKey }) => {
          attempts.push({ attempt, idempotencyKey, at: engine.clock.now() - began });
          return await work({ attempt, idempotencyKey, at: engine.clock.now() }, engine);
        });
      } catch (error) {
        const { cause } = error as StepError;
        result = [
          error instanceof StepError,
          (error as Error).message,
          (cause as Error).name,
          (cause as Error).message,
        ];
      }
      await step.sleep("rest", "1h");
      return { result, type: typeof result };
    }),
  ]);
  const began = engine.clock.now();
  return { engine, attempts, runId: await engine.start("agent") };
}

const fails = ({ attempt }: Attempt): never => {
  throw new TypeError(`attempt ${attempt}`);
};

test("a recorded step never runs again, however often its run is taken up", async () => {
  const { engine, attempts, runId } = await oneStep({}, () => "once");
  for (let life = 0; life < 4; life += 1) await engine.reopen();
  expect((await engine.finish(runId)).output).toEqual({ result: "once", type: "string" });
  expect(attempts).toHaveLength(1);
});

test("a step that was cut off runs again under the same number and key: an interruption uses up no retry", async () => {
  const { engine, attempts, runId } = await oneStep(
    { retry: { maxAttempts: 2, delay: 0 } },
    async ({ attempt }, on) => {
      await on.clock.wait(60_000);
      if (attempt === 1) throw new Error("the only failure");
      return "done";
    },
  );
  for (let life = 0; life < 3; life += 1) {
    await engine.advance(30_000);
    await engine.reopen();
  }
  // The fourth first attempt fails, and its second is cut off as well.
  await engine.advance(90_000);
  await engine.reopen();
  expect((await engine.finish(runId)).output).toMatchObject({ result: "done" });
  expect(attempts.map(({ attempt }) => attempt)).toEqual([1, 1, 1, 1, 2, 2]);
  expect(new Set(attempts.map(({ idempotencyKey }) => idempotencyKey)).size).toBe(1);
});

test("steps of one name have idempotency keys of their own, and so have runs", async () => {
  const keys: string[] = [];
  const engine = await TestEngine.create([
    anyAgent(async ({ step }) => {
      for (const name of ["a", "a", "b", "ü /\n"])
        await step.run(name, ({ idempotencyKey }) => void keys.push(idempotencyKey));
    }),
  ]);
  await engine.start("agent");
  await engine.start("agent");
  expect(new Set(keys).size).toBe(8);
  for (const key of keys) expect(key).toMatch(/^[!-~]+$/);
});

test("failed attempts are counted over restarts, and the back-off ends at its recorded moment", async () => {
  const { engine, attempts, runId } = await oneStep({ retry: { maxAttempts: 3, delay: "1m" } }, fails);
  await engine.advance(40_000);
  await engine.reopen();
  expect(await engine.get(runId)).toMatchObject({ status: "sleeping", wakeAt: engine.clock.now() + 20_000 });
  await engine.advance(20_000);
  expect(attempts.map(({ attempt, at }) => [attempt, at])).toEqual([
    [1, 0],
    [2, 60_000],
  ]);
  await engine.crash();
  engine.clock.jump(3_600_000);
  await engine.reopen();
  await engine.finish(runId);
  expect(attempts.map(({ attempt }) => attempt)).toEqual([1, 2, 3]);
});

test.each<[string, StepOptions["retry"], number[]]>([
  ["exponential", { maxAttempts: 5, delay: 1_000, maxDelay: 5_000 }, [0, 1_000, 3_000, 7_000, 12_000]],
  ["fixed", { maxAttempts: 4, delay: 1_000, backoff: "fixed" }, [0, 1_000, 2_000, 3_000]],
  ["none", { maxAttempts: 3, delay: 0 }, [0, 0, 0]],
  ["none at all", { maxAttempts: 1 }, [0]],
])("back-off that is %s spaces the attempts", async (_what, retry, times) => {
  const { engine, attempts, runId } = await oneStep({ retry: retry ?? {} }, fails);
  await engine.finish(runId);
  expect(attempts.map(({ at }) => at)).toEqual(times);
});

test("a step whose attempts are used up throws a StepError with its cause, the same in every replay", async () => {
  const { engine, attempts, runId } = await oneStep({ retry: { maxAttempts: 2, delay: 0 } }, fails);
  await engine.advance(10);
  await engine.reopen();
  const { output, status } = await engine.finish(runId);
  expect(status).toBe("completed");
  expect(output).toMatchObject({ result: [true, 'Step "work" failed: attempt 2', "TypeError", "attempt 2"] });
  expect(attempts).toHaveLength(2);
  const rows = await engine.history(runId);
  await engine.reopen({ lostAfter: { runId, seq: rows.length - 1 } });
  expect((await engine.finish(runId)).output).toEqual(output);
  expect(attempts).toHaveLength(2);
});

test("a step's failure that nobody catches fails the run and names the step", async () => {
  const engine = await TestEngine.create([
    anyAgent(({ step }) =>
      step.run("work", { retry: { maxAttempts: 1 } }, () => Promise.reject(new Error("why"))),
    ),
  ]);
  const run = await engine.finish(await engine.start("agent"));
  expect(run).toMatchObject({
    status: "failed",
    error: { name: "StepError", step: "work", cause: { name: "Error", message: "why" } },
  });
  expect(JSON.stringify(run.error)).not.toMatch(/steps\.test|node_modules|at /);
});

test("a NonRetryableError ends the attempts", async () => {
  const { engine, attempts, runId } = await oneStep({}, () => {
    throw new NonRetryableError("never");
  });
  expect((await engine.finish(runId)).output).toMatchObject({
    result: [true, expect.anything(), "NonRetryableError", "never"],
  });
  expect(attempts).toHaveLength(1);
});

test.each([
  [30_000, 30_000],
  [0, 0],
  [-5, 0],
  [0.5, 1],
  [Number.NaN, 1_000],
  [Number.POSITIVE_INFINITY, 10 * 365.25 * 24 * 3_600_000],
])("a RetryAfterError of %d ms is followed after %d ms", async (askedMs, delayMs) => {
  const { engine, attempts, runId } = await oneStep({}, ({ attempt }) => {
    if (attempt === 1) throw new RetryAfterError("later", askedMs);
  });
  // The moment is recorded, so that a restart does not change it.
  const [, row] = await engine.history(runId);
  expect(row?.data).toMatchObject({ nextAt: row === undefined ? 0 : row.at + delayMs });
  await engine.reopen();
  await engine.finish(runId);
  expect(attempts.map(({ at }) => at)).toEqual([0, delayMs]);
});

test("an attempt that takes longer than the step's timeout is aborted and counts", async () => {
  const signals: AbortSignal[] = [];
  const engine = await TestEngine.create([
    anyAgent(({ step }) =>
      step.run(
        "slow",
        { timeout: "10s", retry: { maxAttempts: 2, delay: 0 } },
        async ({ signal, attempt }) => {
          signals.push(signal);
          await engine.clock.wait(attempt === 1 ? 60_000 : 9_000);
          return attempt;
        },
      ),
    ),
  ]);
  const runId = await engine.start("agent");
  await engine.advance(9_999);
  expect(signals.map(({ aborted }) => aborted)).toEqual([false]);
  await engine.advance(1);
  expect(signals.map(({ aborted }) => aborted)).toEqual([true, false]);
  expect(signals[0]?.reason).toMatchObject({ name: "TimeoutError" });
  expect((await engine.finish(runId)).output).toBe(2);
  expect(await engine.rows(runId)).toEqual([
    "run.started",
    "step.retrying slow#1",
    "step.completed slow#2",
    "run.completed",
  ]);
});

test("an attempt that is in time leaves no timer", async () => {
  const { engine, runId } = await oneStep({ timeout: "1h" }, () => 1);
  // The sleep's that follows, and the one after which a run that only waits leaves memory.
  expect(engine.timers).toBe(2);
  await engine.finish(runId);
  expect(engine.timers).toBe(0);
});

const cycle: { self?: unknown } = {};
cycle.self = cycle;

test.each([
  ["a BigInt", 1n],
  ["a BigInt inside", { deep: [1n] }],
  ["a cycle", cycle],
  ["a function", () => {}],
  ["a symbol", Symbol("s")],
])("a result with %s fails the step at once, and says that it is no JSON", async (_what, value) => {
  const { engine, attempts, runId } = await oneStep({}, () => value);
  const { output } = await engine.finish(runId);
  expect(output).toMatchObject({
    result: [
      true,
      expect.stringContaining('The result of step "work" cannot be recorded as JSON'),
      "NotJsonError",
      expect.anything(),
    ],
  });
  expect(attempts).toHaveLength(1);
});

test("an output that is no JSON fails the run and says so", async () => {
  const engine = await TestEngine.create([anyAgent(() => 1n)]);
  const run = await engine.finish(await engine.start("agent"));
  expect(run).toMatchObject({
    status: "failed",
    error: { message: expect.stringContaining("output of agent") },
  });
});

test.each<[string, unknown, unknown]>([
  ["undefined", undefined, undefined],
  ["null", null, null],
  ["a Date", new Date(0), "1970-01-01T00:00:00.000Z"],
  ["a Map", new Map([[1, 2]]), {}],
  ["NaN", Number.NaN, null],
  ["a lone surrogate", "\ud800", "\ud800"],
  ["a zero byte", "\u0000", "\u0000"],
  ["an absent field", { a: undefined, b: 1 }, { b: 1 }],
])("a result of %s is the same live as in a replay", async (_what, value, recorded) => {
  const seen: unknown[] = [];
  const engine = await TestEngine.create([
    anyAgent(async ({ step }) => {
      seen.push(await step.run("work", () => value));
      await step.sleep("rest", "1h");
    }),
  ]);
  const runId = await engine.start("agent");
  await engine.reopen();
  await engine.finish(runId);
  expect(seen).toEqual([recorded, recorded]);
});

test("an agent that changes its input changes nothing that is recorded", async () => {
  const engine = await TestEngine.create([
    anyAgent(async ({ input, step }) => {
      const { items } = input as { items: number[] };
      items.reverse();
      await step.sleep("rest", "1h");
      return items.pop();
    }),
  ]);
  const started = await engine.engine.start({ agent: "agent", input: { items: [3, 2, 1] } });
  await engine.settle();
  const [row] = await engine.history(started.run.id);
  await engine.reopen();
  const run = await engine.finish(started.run.id);
  for (const { input } of [started.run, row?.data as { input: unknown }, run])
    expect(input).toEqual({ items: [3, 2, 1] });
  expect(run.output).toBe(3);
});

test("a call that makes no sense is refused in the code that makes it", async () => {
  const engine = await TestEngine.create([
    anyAgent(async ({ step }) => {
      const calls = [
        () => step.run("", () => 1),
        () => step.run("x".repeat(257), () => 1),
        () => step.run("no function", {} as never),
        () => step.run("bad retry", { retry: { maxAttempts: 0 } }, () => 1),
        () => step.run("bad timeout", { timeout: "soon" }, () => 1),
        () => step.sleep("bad", -1),
        () => step.sleepUntil("bad", "someday"),
        () => step.waitForSignal("bad", {} as never),
      ];
      const outcomes = await Promise.allSettled(calls.map((call) => call()));
      return outcomes.map((outcome) =>
        outcome.status === "rejected" ? (outcome.reason as Error).name : "accepted",
      );
    }),
  ]);
  const runId = await engine.start("agent");
  expect((await engine.finish(runId)).output).toEqual([
    "TypeError",
    "TypeError",
    "TypeError",
    "RangeError",
    "RangeError",
    "RangeError",
    "RangeError",
    "TypeError",
  ]);
  expect(await engine.rows(runId)).toEqual(["run.started", "run.completed"]);
});
