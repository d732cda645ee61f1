import { expect, test } from "vitest";
import { WrongStatusError } from "../../app/engine/errors.ts";
import { anyAgent } from "../support/agent.ts";
import { TestEngine } from "../support/engine.ts";
import { intercepted } from "../support/intercepted-journal.ts";

const calls = ["cancel", "pause"] as const;

test.each(calls)(
  "%s of a run in memory is refused in bounded time while the disk is full, and done once it is not",
  async (call) => {
    const disk = { full: false };
    const engine = await waiting(disk);
    const runId = await engine.start("agent");
    disk.full = true;
    const asked = engine.engine[call](runId).catch((error: unknown) => error);
    await engine.advance(15_000);
    expect(await asked).toBeInstanceOf(WrongStatusError);
    expect(String(await asked)).toContain("still being written; try again");
    disk.full = false;
    await engine.advance(5_000);
    const status = call === "cancel" ? "cancelled" : "paused";
    expect((await engine.engine[call](runId)).status).toBe(status);
    expect((await engine.rows(runId)).filter((row) => row === `run.${status}`)).toHaveLength(1);
  },
);

test.each(calls)("a run goes on after a crash if its %s was refused", async (call) => {
  const disk = { full: false };
  const engine = await waiting(disk);
  const runId = await engine.start("agent");
  disk.full = true;
  const asked = engine.engine[call](runId).catch((error: unknown) => error);
  await engine.advance(15_000);
  expect(await asked).toBeInstanceOf(WrongStatusError);
  disk.full = false;
  await engine.reopen();
  await engine.signal(runId, "go");
  expect((await engine.get(runId)).status).toBe("completed");
});

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
