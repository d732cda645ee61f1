import { expect, test } from "vitest";
import type { Agent } from "../../app/engine/agent.ts";
import { RetryAfterError } from "../../app/engine/errors.ts";
import type { HistoryKind, Journal, Write } from "../../app/engine/journal.ts";
import { anyAgent } from "../support/agent.ts";
import { TestEngine } from "../support/engine.ts";

const hourMs = 3_600_000;

test("code behind a sleep that has ended goes on after a crash, although its run waits for something else too", async () => {
  const crash = new CrashAfter("sleep.ended");
  const { engine, runId } = await started(crash, async ({ step }) =>
    Promise.all([
      step.waitForSignal("never", { signal: "never" }),
      step.sleep("short", "1h").then(() => step.run("after", () => "done")),
    ]),
  );
  await engine.advance(hourMs);
  expect(crash.happened).toBe(true);
  await engine.reopen();
  await engine.settle();
  expect(await engine.rows(runId)).toContain("step.completed after#1");
});

test("code behind a signal that was taken goes on after a crash, although its run waits for another one too", async () => {
  const crash = new CrashAfter("signal.received");
  const { engine, runId } = await started(crash, async ({ step }) =>
    Promise.all([
      step.waitForSignal("never", { signal: "never" }),
      step.waitForSignal("go", { signal: "go" }).then(() => step.run("after", () => "done")),
    ]),
  );
  await engine.signal(runId, "go");
  expect(crash.happened).toBe(true);
  await engine.reopen();
  await engine.settle();
  expect(await engine.rows(runId)).toContain("step.completed after#1");
});

test("a sleep that was called with a longer one ends at its time, although a crash came before it was recorded", async () => {
  const crash = new CrashAfter("sleep.started");
  const { engine, runId } = await started(crash, async ({ step }) =>
    Promise.all([step.sleep("long", "3 days"), step.sleep("short", "1h")]),
  );
  expect(crash.happened).toBe(true);
  await engine.reopen();
  await engine.advance(hourMs);
  expect(await engine.rows(runId)).toContain("sleep.ended short");
});

test("a run that starts another one is not taken for one that only waits", async () => {
  const child = anyAgent(() => "child", { id: "child" });
  const crash = new CrashAfter("child.detached");
  const run: Parameters<typeof anyAgent>[0] = async ({ step }) =>
    Promise.all([
      step.sleep("long", "3 days"),
      step.run("before", () => "done").then(() => step.start("start", child, null)),
    ]).then(() => "never before three days");
  const { engine, runId } = await started(crash, run, [child]);
  expect(crash.happened).toBe(true);
  expect(await engine.get(runId)).toMatchObject({ status: "running" });
});

test("a wait that a replay takes up is kept beside a later one that begins in the same replay", async () => {
  const agent: Parameters<typeof anyAgent>[0] = async ({ step }) => {
    const soon = step.run("soon", ({ attempt }) => {
      if (attempt === 1) throw new RetryAfterError("not yet", hourMs);
      return "soon";
    });
    await step.run("first", () => "done");
    const late = step.run("late", () => {
      throw new RetryAfterError("not yet", 72 * hourMs);
    });
    return await Promise.all([soon, late]);
  };
  const crash = new CrashAfter("step.completed");
  const { engine, runId } = await started(crash, agent);
  crash.again("step.retrying");
  await engine.reopen();
  await engine.settle();
  expect(crash.happened).toBe(true);
  await engine.reopen();
  await engine.settle();
  const retries = (await engine.rows(runId)).filter((row) => row.startsWith("step.retrying"));
  expect(retries).toEqual(["step.retrying soon#1", "step.retrying late#1"]);
  expect((await engine.get(runId)).wakeAt).toBe(engine.clock.now() + hourMs);
  await engine.advance(hourMs);
  expect(await engine.rows(runId)).toContain("step.completed soon#2");
});

async function started(
  crash: CrashAfter,
  handler: Parameters<typeof anyAgent>[0],
  others: readonly Agent[] = [],
): Promise<{ readonly engine: TestEngine; readonly runId: string }> {
  const agent = anyAgent(handler, { id: "agent" });
  const engine = await TestEngine.create([agent, ...others], { wrapJournal: crash.wrap });
  return { engine, runId: await engine.start("agent") };
}

/** Once a row of the kind is committed nothing is written or heard of any more, until the engine is made anew. */
class CrashAfter {
  #kind: HistoryKind;
  happened = false;

  constructor(kind: HistoryKind) {
    this.#kind = kind;
  }

  /** Of the next engine that is made. */
  again(kind: HistoryKind): void {
    this.#kind = kind;
    this.happened = false;
  }

  readonly wrap = (journal: Journal): Journal => {
    const mine = !this.happened;
    const append = async (writes: readonly Write[]): Promise<void> => {
      if (mine && this.happened) return await never();
      await journal.append(writes);
      if (!mine || !writes.some((write) => write.kind === "event" && write.event.kind === this.#kind)) return;
      this.happened = true;
      await never();
    };
    return new Proxy(journal, {
      get(target, method) {
        if (method === "append") return append;
        const value: unknown = Reflect.get(target, method, target);
        return typeof value === "function" ? value.bind(target) : value;
      },
    });
  };
}

function never(): Promise<never> {
  return new Promise(() => {});
}
