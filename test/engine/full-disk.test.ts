import { expect, test } from "vitest";
import { WrongStatusError } from "../../app/engine/errors.ts";
import { anyAgent } from "../support/agent.ts";
import { TestEngine } from "../support/engine.ts";
import { intercepted } from "../support/intercepted-journal.ts";

const calls = ["cancel", "pause"] as const;

test.each(calls)(
  "%s of a run in memory is refused in bounded time while the disk is full, and done once it is not",
  async (call) => {
    const { engine, runId, answer } = await askOnFullDisk(call);
    expect(answer).toBeInstanceOf(WrongStatusError);
    expect(String(answer)).toContain("still being written; try again");
    await engine.advance(5_000);
    const status = call === "cancel" ? "cancelled" : "paused";
    expect((await engine.engine[call](runId)).status).toBe(status);
    expect((await engine.rows(runId)).filter((row) => row === `run.${status}`)).toHaveLength(1);
  },
);

test.each(calls)("a run goes on after a crash if its %s was refused", async (call) => {
  const { engine, runId, answer } = await askOnFullDisk(call);
  expect(answer).toBeInstanceOf(WrongStatusError);
  await engine.reopen();
  await engine.signal(runId, "go");
  expect((await engine.get(runId)).status).toBe("completed");
});

/** Asks for the call while a run waits and the disk is full; `answer` is what came within 15 s. There is room again then. */
async function askOnFullDisk(
  call: (typeof calls)[number],
): Promise<{ readonly engine: TestEngine; readonly runId: string; readonly answer: unknown }> {
  const disk = { full: false };
  const engine = await waiting(disk);
  const runId = await engine.start("agent");
  disk.full = true;
  const asked = engine.engine[call](runId).catch((error: unknown) => error);
  await engine.advance(15_000);
  const answer = await asked;
  disk.full = false;
  return { engine, runId, answer };
}

function waiting(disk: { readonly full: boolean }): Promise<TestEngine> {
  const agent = anyAgent(({ step }) => step.waitForSignal("wait", { signal: "go" }));
  return TestEngine.create([agent], {
    wrapJournal: (journal) =>
      intercepted(journal, async (method, call) => {
        if (method === "append" && disk.full) throw new Error("The disk is full.");
        return await call();
      }),
  });
}
