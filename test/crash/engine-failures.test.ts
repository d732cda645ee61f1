import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { dataOf, historyWith, KilledWorker, rowsOf, runWith } from "../support/killed-worker.ts";

let worker: KilledWorker;
beforeAll(async () => {
  worker = await KilledWorker.open();
});
beforeEach(() => worker.start());
afterAll(() => worker.close());

/** In each test the worker is killed once, and its disk wiped; each has a tenant of its own. */
const boundMs = 60_000;

test(
  "a NonRetryableError ends the run at once, with the whole chain of causes, and onFailure runs once",
  async () => {
    let client = await worker.client("doomed");
    const { body: run } = await client.start("doomed", { token: "t" });
    await historyWith(client, run.id, "signal.waiting");
    await client.signal(run.id, "go", { payload: null });
    const { error } = await runWith(client, run.id, "failed");
    const cause = {
      name: "NonRetryableError",
      message: "cannot be paid",
      cause: {
        name: "Error",
        message: "the card was declined",
        cause: { name: "TypeError", message: "no such card" },
      },
    };
    expect(error).toEqual({
      name: "StepError",
      message: 'Step "fail" failed: cannot be paid',
      step: "fail",
      cause,
    });
    await worker.dieAndReturn();
    client = await worker.client("doomed");
    const rows = (await client.history(run.id)).body.items;
    expect(rowsOf(rows, "step.failed")).toMatchObject([{ name: "fail", attempt: 1, data: cause }]);
    expect(rowsOf(rows, "run.failed")).toMatchObject([{ data: error }]);
    expect(rowsOf(rows, "step.retrying")).toEqual([]);
    expect(worker.executed(run.id)).toEqual(["fail"]);

    const [after, ...more] = (await client.runs(null)).body.items.filter(({ id }) => id !== run.id);
    expect([after?.agent, more]).toEqual(["doomed/onFailure", []]);
    expect((await runWith(client, after?.id ?? "", "completed")).output).toEqual({ seen: run.id, error });
    expect((await client.app("/refunds")).body).toMatchObject({
      items: [{ runId: run.id, decidedBy: "StepError" }],
    });
  },
  boundMs,
);

test(
  "a RetryAfterError says when the next attempt is made, whatever the policy, and a kill does not change that",
  async () => {
    let client = await worker.client("told");
    const { body: run } = await client.start("told", { token: "t", afterMs: 2_500 });
    const [waits] = rowsOf(await historyWith(client, run.id, "step.retrying"), "step.retrying");
    const { error, nextAt } = dataOf<{ error: unknown; nextAt: number }>(waits);
    expect(error).toEqual({ name: "RetryAfterError", message: "come again" });
    expect(nextAt - Date.parse(waits?.at ?? "")).toBeGreaterThan(2_000);
    expect((await client.run(run.id)).body).toMatchObject({
      status: "sleeping",
      wakeAt: new Date(nextAt).toISOString(),
    });
    await worker.dieAndReturn();
    client = await worker.client("told");
    expect((await runWith(client, run.id, "completed")).output).toBe(2);
    const [done] = rowsOf((await client.history(run.id)).body.items, "step.completed");
    expect(Date.parse(done?.at ?? "")).toBeGreaterThanOrEqual(nextAt);
    expect(worker.executed(run.id)).toEqual(["ask", "ask"]);
  },
  boundMs,
);

test(
  "an attempt that takes longer than the step's timeout is aborted and counts as failed",
  async () => {
    let client = await worker.client("late");
    const { body: run } = await client.start("late", { token: "t" });
    const [row] = rowsOf(await historyWith(client, run.id, "step.retrying"), "step.retrying");
    expect(row).toMatchObject({ attempt: 1, data: { error: { name: "TimeoutError" } } });
    await worker.dieAndReturn();
    client = await worker.client("late");
    expect((await runWith(client, run.id, "completed")).output).toBe(2);
    expect(worker.executed(run.id)).toEqual(["hang", "aborted", "hang"]);
  },
  boundMs,
);

test(
  "a run that takes longer than its agent's timeout has failed, although it was dead for part of it",
  async () => {
    let client = await worker.client("endless");
    const { body: run } = await client.start("endless", {});
    await historyWith(client, run.id, "signal.waiting");
    await worker.dieAndReturn();
    client = await worker.client("endless");
    const { error, startedAt, endedAt } = await runWith(client, run.id, "failed");
    expect(error).toMatchObject({ name: "TimeoutError", message: expect.stringContaining("3000 ms") });
    const tookMs = Date.parse(endedAt ?? "") - Date.parse(startedAt ?? "");
    expect(tookMs).toBeGreaterThanOrEqual(3_000);
  },
  boundMs,
);
