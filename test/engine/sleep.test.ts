import { expect, test } from "vitest";
import { anyAgent } from "../support/agent.ts";
import { TestEngine } from "../support/engine.ts";

test("a sleep ends once, at the recorded moment, whenever its run is taken up", async () => {
  const engine = await TestEngine.create([anyAgent(({ step }) => step.sleep("rest", "1h"))]);
  const runId = await engine.start("agent");
  const endsAt = engine.clock.now() + 3_600_000;
  for (let life = 0; life < 3; life += 1) {
    await engine.advance(1_000_000);
    await engine.reopen();
    expect(await engine.get(runId)).toMatchObject({ status: "sleeping", wakeAt: endsAt });
  }
  await engine.advance(599_999);
  expect((await engine.get(runId)).status).toBe("sleeping");
  await engine.advance(1);
  expect(await engine.get(runId)).toMatchObject({ status: "completed", endedAt: endsAt, wakeAt: null });
  expect(await engine.rows(runId)).toEqual([
    "run.started",
    "sleep.started rest",
    "sleep.ended rest",
    "run.completed",
  ]);
});

test("a sleep that is past due when its run is taken up ends at once", async () => {
  const engine = await TestEngine.create([anyAgent(({ step }) => step.sleep("rest", "1h"))]);
  const runId = await engine.start("agent");
  await engine.crash();
  engine.clock.jump(30 * 24 * 3_600_000);
  await engine.reopen();
  await engine.settle();
  expect((await engine.get(runId)).status).toBe("completed");
  expect((await engine.rows(runId)).filter((row) => row === "sleep.ended rest")).toHaveLength(1);
});

const start = Date.UTC(2026, 0, 1);

test.each<[string, Date | number | string, number]>([
  ["a Date", new Date(start + 5_000), 5_000],
  ["milliseconds", start + 5_000, 5_000],
  ["text", "2026-01-01T00:00:05Z", 5_000],
  ["a time that has passed", "2020-01-01", 0],
])("a sleep until %s ends then", async (_what, until, afterMs) => {
  const engine = await TestEngine.create([anyAgent(({ step }) => step.sleepUntil("rest", until))]);
  const run = await engine.finish(await engine.start("agent"));
  expect(run).toMatchObject({ status: "completed", endedAt: start + afterMs });
});

test.each(["0", 0, 0.1, "1s", "90 days", "10 years"])("a sleep of %j ends", async (duration) => {
  const engine = await TestEngine.create([anyAgent(({ step }) => step.sleep("rest", duration))]);
  expect((await engine.finish(await engine.start("agent"))).status).toBe("completed");
});

test("of several waits the earliest says when the run is due", async () => {
  const engine = await TestEngine.create([
    anyAgent(({ step }) =>
      Promise.all([
        step.sleep("long", "2h"),
        step.sleep("short", "1h"),
        step.waitForSignal("wait", { signal: "go", timeout: "30m" }),
      ]),
    ),
  ]);
  const runId = await engine.start("agent");
  const at = (minutes: number): number => start + minutes * 60_000;
  expect(await engine.get(runId)).toMatchObject({ status: "waiting", wakeAt: at(30) });
  await engine.advance(30 * 60_000);
  expect(await engine.get(runId)).toMatchObject({ status: "sleeping", wakeAt: at(60) });
  await engine.advance(30 * 60_000);
  expect(await engine.get(runId)).toMatchObject({ status: "sleeping", wakeAt: at(120) });
  expect(engine.engine.activity()).toEqual({ unfinished: 1, running: 0, nextWakeAt: at(120) });
});

test("a run that is to start later starts then, over restarts, and keeps signals that came meanwhile", async () => {
  const engine = await TestEngine.create([
    anyAgent(({ step }) => step.waitForSignal("wait", { signal: "go" })),
  ]);
  const { run } = await engine.engine.start({ agent: "agent", input: null, delayMs: 60_000 });
  await engine.signal(run.id, "go", "early");
  await engine.advance(30_000);
  await engine.reopen();
  await engine.advance(29_999);
  expect(await engine.get(run.id)).toMatchObject({
    status: "queued",
    startedAt: null,
    wakeAt: start + 60_000,
  });
  expect(await engine.rows(run.id)).toEqual([]);
  await engine.advance(1);
  expect(await engine.get(run.id)).toMatchObject({
    status: "completed",
    startedAt: start + 60_000,
    output: { payload: "early" },
  });
});
