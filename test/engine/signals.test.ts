import { expect, test } from "vitest";
import * as z from "zod";
import { IdempotencyConflictError, InvalidInputError, WrongStatusError } from "../../app/engine/errors.ts";
import { anyAgent } from "../support/agent.ts";
import { TestEngine } from "../support/engine.ts";
import { HeldAnswers } from "../support/intercepted-journal.ts";

const waitsOnce = anyAgent(async ({ step }) => await step.waitForSignal("wait", { signal: "go" }));

test("signals that come early are kept and taken in the order in which they came", async () => {
  const engine = await TestEngine.create([
    anyAgent(async ({ step }) => {
      await step.sleep("late", "1h");
      const taken = [];
      for (let round = 0; round < 3; round += 1)
        taken.push((await step.waitForSignal("wait", { signal: "go" }))?.payload);
      return taken;
    }),
  ]);
  const runId = await engine.start("agent");
  for (const payload of [1, 2]) await engine.signal(runId, "go", payload);
  await engine.signal(runId, "other", "not asked for");
  await engine.reopen();
  await engine.signal(runId, "go", 3);
  expect((await engine.finish(runId)).output).toEqual([1, 2, 3]);
});

test("of two steps that wait for one name the first gets the first signal, after a crash too", async () => {
  const engine = await TestEngine.create([
    anyAgent(async ({ step }) => {
      const both = ["first", "second"].map((name) => step.waitForSignal(name, { signal: "go" }));
      return (await Promise.all(both)).map((received) => received?.payload);
    }),
  ]);
  const runId = await engine.start("agent");
  await engine.reopen();
  await engine.signal(runId, "go", "a");
  await engine.reopen();
  await engine.signal(runId, "go", "b");
  expect((await engine.finish(runId)).output).toEqual(["a", "b"]);
});

test("signals sent at the same time are each taken once", async () => {
  const engine = await TestEngine.create([
    anyAgent(async ({ step }) => {
      const taken: unknown[] = [];
      for (let round = 0; round < 20; round += 1)
        taken.push((await step.waitForSignal("wait", { signal: "go" }))?.payload);
      return taken;
    }),
  ]);
  const runId = await engine.start("agent");
  const payloads = Array.from({ length: 20 }, (_none, index) => index);
  await Promise.all(payloads.map((payload) => engine.engine.signal(runId, { name: "go", payload })));
  expect((await engine.finish(runId)).output).toEqual(payloads);
});

test("a wait gives null at the recorded moment of its timeout, also when that has passed while nothing ran", async () => {
  const engine = await TestEngine.create([
    anyAgent(async ({ step }) => await step.waitForSignal("wait", { signal: "go", timeout: "1h" })),
  ]);
  const runId = await engine.start("agent");
  await engine.advance(30 * 60_000);
  await engine.reopen();
  expect((await engine.get(runId)).wakeAt).toBe(engine.clock.now() + 30 * 60_000);
  await engine.crash();
  engine.clock.jump(5 * 3_600_000);
  await engine.reopen();
  const run = await engine.finish(runId);
  expect(run).toMatchObject({ status: "completed", output: null });
  expect(await engine.rows(runId)).toEqual([
    "run.started",
    "signal.waiting wait",
    "signal.timed_out wait",
    "run.completed",
  ]);
});

test("a signal that was there before the timeout is taken, although both are found after the timeout", async () => {
  const engine = await TestEngine.create([
    anyAgent(async ({ step }) => await step.waitForSignal("wait", { signal: "go", timeout: "1h" })),
  ]);
  const runId = await engine.start("agent");
  await engine.journal.append([
    {
      kind: "create-signal",
      signal: {
        id: "1",
        runId,
        name: "go",
        idempotencyKey: null,
        payload: "early",
        at: engine.clock.now(),
        takenBySeq: null,
      },
    },
  ]);
  await engine.crash();
  engine.clock.jump(2 * 3_600_000);
  await engine.reopen();
  expect((await engine.finish(runId)).output).toMatchObject({ payload: "early" });
});

test("a signal and a timeout at the same moment end the wait once, and the signal is not lost", async () => {
  const engine = await TestEngine.create([
    anyAgent(async ({ step }) => {
      const first = await step.waitForSignal("first", { signal: "go", timeout: 1_000 });
      const second = await step.waitForSignal("second", { signal: "go", timeout: 1_000 });
      return [first?.payload ?? null, second?.payload ?? null];
    }),
  ]);
  const runId = await engine.start("agent");
  engine.clock.setTimer(engine.clock.now() + 1_000, () => {
    void engine.engine.signal(runId, { name: "go", payload: "just now" });
  });
  expect((await engine.finish(runId)).output).toEqual([null, "just now"]);
});

test("a payload that the waiting step refuses is refused at the door, and nothing is written", async () => {
  const engine = await TestEngine.create([
    anyAgent(
      async ({ step }) =>
        await step.waitForSignal("wait", { signal: "go", schema: z.object({ ok: z.boolean() }) }),
    ),
  ]);
  const runId = await engine.start("agent");
  const { commits } = engine.connection;
  const refused = engine.engine.signal(runId, { name: "go", payload: { ok: "yes" } });
  await expect(refused).rejects.toThrow(InvalidInputError);
  await expect(refused).rejects.toMatchObject({ issues: [{ path: "ok" }] });
  expect(engine.connection.commits).toBe(commits);
  await engine.signal(runId, "go", { ok: true });
  expect((await engine.finish(runId)).output).toMatchObject({ payload: { ok: true } });
});

test.each([
  ["refuses", z.number()],
  [
    "throws on",
    z.any().transform((): number => {
      throw new Error("out of order");
    }),
  ],
  ["makes no JSON of", z.any().transform(() => 1n)],
])(
  "an early payload that the step's schema %s is recorded as rejected, and the next one is taken",
  async (_what, refusing) => {
    const engine = await TestEngine.create([
      anyAgent(async ({ step }) => {
        await step.sleep("late", "1h");
        const schema = z.union([z.literal("good"), refusing]);
        return await step.waitForSignal("wait", { signal: "go", schema });
      }),
    ]);
    const runId = await engine.start("agent");
    await engine.signal(runId, "go", "bad");
    await engine.signal(runId, "go", "good");
    expect((await engine.finish(runId)).output).toMatchObject({ payload: "good" });
    const rejected = (await engine.history(runId)).filter(({ kind }) => kind === "signal.rejected");
    expect(rejected).toMatchObject([{ name: "wait", data: { signal: "go", issues: [{ path: "" }] } }]);
  },
);

test("a payload of which the waiting step's schema makes no JSON is refused at the door", async () => {
  const schema = z.any().transform(() => 1n);
  const engine = await TestEngine.create([
    anyAgent(async ({ step }) => await step.waitForSignal("wait", { signal: "go", schema })),
  ]);
  const runId = await engine.start("agent");
  await expect(engine.engine.signal(runId, { name: "go", payload: 1 })).rejects.toThrow(InvalidInputError);
  expect(await engine.journal.inbox(runId)).toEqual([]);
});

test("a payload is seen as JSON, live as in a replay, and one that has no JSON form is refused", async () => {
  const engine = await TestEngine.create([
    anyAgent(async ({ step }) => {
      const received = await step.waitForSignal("wait", { signal: "go" });
      await step.sleep("rest", "1h");
      return typeof received?.payload;
    }),
  ]);
  const runId = await engine.start("agent");
  await expect(engine.engine.signal(runId, { name: "go", payload: 1n })).rejects.toThrow(InvalidInputError);
  await engine.signal(runId, "go", new Date(0));
  expect((await engine.finish(runId)).output).toBe("string");
});

test("an idempotency key sends a signal once, and refuses another one, until the run is forgotten", async () => {
  const engine = await TestEngine.create([waitsOnce]);
  const runId = await engine.start("agent");
  const send = (payload: unknown, name = "go") =>
    engine.engine.signal(runId, { name, payload, idempotencyKey: "k" });
  const sent = await Promise.all([send({ a: 1, b: 2 }), send({ b: 2, a: 1 }), send({ a: 1, b: 2 })]);
  expect(sent.map(({ created }) => created)).toEqual([true, false, false]);
  expect(new Set(sent.map(({ id }) => id)).size).toBe(1);
  await expect(send({ a: 2 })).rejects.toThrow(IdempotencyConflictError);
  await expect(send({ a: 1, b: 2 }, "other")).rejects.toThrow(IdempotencyConflictError);
  await engine.finish(runId);
  await engine.reopen();
  expect(await send({ a: 1, b: 2 })).toEqual({ id: sent[0].id, created: false });
});

test("a run that has ended takes no signals", async () => {
  const engine = await TestEngine.create([waitsOnce]);
  const runId = await engine.start("agent");
  await engine.signal(runId, "go");
  await engine.finish(runId);
  const { commits } = engine.connection;
  await expect(engine.engine.signal(runId, { name: "go", payload: 1 })).rejects.toThrow(WrongStatusError);
  expect(engine.connection.commits).toBe(commits);
});

test("a signal that was committed just before a crash is taken after it", async () => {
  const engine = await TestEngine.create([waitsOnce]);
  const runId = await engine.start("agent");
  await engine.engine.signal(runId, { name: "go", payload: "last words" });
  await engine.reopen();
  expect((await engine.finish(runId)).output).toMatchObject({ payload: "last words" });
});

test.each(["history", "inbox"] as const)(
  "a signal sent while the run's %s is being read is taken once",
  async (read) => {
    const answers = new HeldAnswers(read);
    const engine = await TestEngine.create([waitsOnce], { wrapJournal: answers.wrap });
    const runId = await engine.start("agent");
    await engine.reopenUnopened();
    // One that nobody waits for makes the engine look at the run.
    await engine.engine.signal(runId, { name: "other", payload: null });
    answers.hold();
    await engine.engine.open();
    await answers.reached;
    await engine.engine.signal(runId, { name: "go", payload: "meanwhile" });
    answers.letGo();
    expect((await engine.finish(runId)).output).toMatchObject({ payload: "meanwhile" });
    expect(await engine.journal.inbox(runId)).toMatchObject([{ name: "other" }]);
  },
);
