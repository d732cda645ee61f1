import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { historyWith, KilledWorker, rowsOf, runWith } from "../support/killed-worker.ts";
import { codeOf } from "../support/worker-client.ts";

let worker: KilledWorker;
beforeAll(async () => {
  worker = await KilledWorker.open();
});
beforeEach(() => worker.start());
afterAll(() => worker.close());

/** In each test the worker is killed once, and its disk wiped; each has a tenant of its own. */
const boundMs = 60_000;
const approval = { token: "t", ms: 1 };

test(
  "a run that was cancelled stays so, takes no signals, and may be cancelled again",
  async () => {
    let client = await worker.client("cancel");
    const { body: run } = await client.start("approval", approval);
    await historyWith(client, run.id, "signal.waiting");
    const cancelled = await client.control(run.id, "cancel");
    expect(cancelled).toMatchObject({ status: 200, body: { status: "cancelled", wakeAt: null } });
    expect(cancelled.body.endedAt).not.toBeNull();
    await worker.dieAndReturn();
    client = await worker.client("cancel");
    const again = await client.control(run.id, "cancel");
    expect([again.status, again.body]).toEqual([200, cancelled.body]);
    const refused = await client.signal(run.id, "go", { payload: { by: "me" } });
    expect([refused.status, codeOf(refused)]).toEqual([409, "wrong_status"]);
    for (const action of ["pause", "resume"]) expect((await client.control(run.id, action)).status).toBe(409);
    expect((await client.history(run.id)).body.items.at(-1)?.kind).toBe("run.cancelled");
    expect(worker.executed(run.id)).toEqual(["ask"]);
  },
  boundMs,
);

test(
  "a run that is paused stays so until it is resumed, and a signal that comes meanwhile is kept",
  async () => {
    let client = await worker.client("pause");
    const { body: run } = await client.start("approval", approval);
    await historyWith(client, run.id, "signal.waiting");
    expect((await client.control(run.id, "pause")).body.status).toBe("paused");
    expect((await client.control(run.id, "pause")).body.status).toBe("paused");
    expect((await client.signal(run.id, "go", { payload: { by: "me" } })).status).toBe(202);
    await worker.dieAndReturn();
    client = await worker.client("pause");
    expect((await client.run(run.id)).body.status).toBe("paused");
    expect((await client.remove(run.id)).status).toBe(409);
    expect(worker.executed(run.id)).toEqual(["ask"]);
    expect((await client.control(run.id, "resume")).status).toBe(200);
    const { output } = await runWith(client, run.id, "completed");
    expect(output).toEqual([expect.any(String), expect.any(String), "t:by:me"]);
    expect(worker.executed(run.id)).toEqual(["ask", "act"]);
    const kinds = (await client.history(run.id)).body.items.map(({ kind }) => kind);
    expect(kinds.filter((kind) => kind === "run.paused" || kind === "run.resumed")).toEqual([
      "run.paused",
      "run.resumed",
    ]);
  },
  boundMs,
);

test(
  "a delayed run begins when it is due, not before, although its worker was killed meanwhile",
  async () => {
    let client = await worker.client("delay");
    const { body: run } = await client.start(
      "chain",
      { token: "t", steps: 1, ms: 1 },
      { delay: "3s", key: "k" },
    );
    const due = Date.parse(run.createdAt) + 3_000;
    expect(run).toMatchObject({ status: "queued", wakeAt: new Date(due).toISOString(), startedAt: null });
    await worker.dieAndReturn();
    client = await worker.client("delay");
    const { startedAt } = await runWith(client, run.id, "completed");
    expect(Date.parse(startedAt ?? "")).toBeGreaterThanOrEqual(due);
    const repeated = await client.start("chain", { token: "t", steps: 1, ms: 1 }, { delay: "3s", key: "k" });
    expect([repeated.status, repeated.body.id]).toEqual([200, run.id]);
  },
  boundMs,
);

test(
  "a retry goes on from the step that failed: history is kept, and no step before it runs again",
  async () => {
    let client = await worker.client("retry");
    const mended = join(worker.folder, "mended-retry");
    const { body: run } = await client.start("three-steps", { token: "t", mended });
    await runWith(client, run.id, "failed");
    const before = (await client.history(run.id)).body.items;
    await worker.dieAndReturn();
    client = await worker.client("retry");
    await writeFile(mended, "");
    const retried = await client.control(run.id, "retry");
    expect(retried).toMatchObject({ status: 200, body: { id: run.id, error: null } });
    const done = await runWith(client, run.id, "completed");
    expect(done.output).toHaveLength(3);
    const after = (await client.history(run.id)).body.items;
    expect(after.slice(0, before.length)).toEqual(before);
    expect(after.slice(before.length).map(({ kind, name }) => [kind, name])).toEqual([
      ["run.retried", ""],
      ["step.completed", "b"],
      ["step.completed", "c"],
      ["run.completed", ""],
    ]);
    expect(worker.executed(run.id)).toEqual(["a", "b", "b", "c"]);
  },
  boundMs,
);

test(
  "a retry from a named step makes that step and all after it anew",
  async () => {
    let client = await worker.client("retry-from");
    const mended = join(worker.folder, "mended-from");
    await writeFile(mended, "");
    const { body: run } = await client.start("three-steps", { token: "t", mended }, { wait: "20s" });
    expect(run.status).toBe("completed");
    const nowhere = await client.control(run.id, "retry", { from: { name: "z" } });
    expect([nowhere.status, codeOf(nowhere)]).toEqual([422, "invalid_input"]);
    await client.control(run.id, "retry", { from: { name: "b" } });
    await worker.dieAndReturn();
    client = await worker.client("retry-from");
    const { output } = await runWith(client, run.id, "completed");
    const first = run.output as string[];
    expect((output as string[])[0]).toBe(first[0]);
    expect((output as string[])[1]).not.toBe(first[1]);
    expect(worker.executed(run.id).filter((step) => step === "a")).toEqual(["a"]);
  },
  boundMs,
);

test(
  "a fork shares the recorded past up to its step, and goes its own way from there",
  async () => {
    let client = await worker.client("fork");
    const mended = join(worker.folder, "mended-fork");
    await writeFile(mended, "");
    const { body: run } = await client.start(
      "three-steps",
      { token: "t", mended },
      { wait: "20s", key: "k" },
    );
    const original = (await client.history(run.id)).body.items;
    const { status, body: fork } = await client.control(run.id, "fork", { from: { name: "c" } });
    expect([status, fork.id === run.id]).toEqual([202, false]);
    await worker.dieAndReturn();
    client = await worker.client("fork");
    const done = await runWith(client, fork.id, "completed");
    const [a, b, c] = run.output as string[];
    expect(done.output).toEqual([a, b, expect.not.stringMatching(`^${c}$`)]);
    expect(new Set(worker.executed(fork.id))).toEqual(new Set(["c"]));
    expect((await client.history(run.id)).body.items).toEqual(original);
    expect((await client.run(run.id)).body).toEqual(run);
    const shared = rowsOf((await client.history(fork.id)).body.items, "step.completed").slice(0, 2);
    expect(shared.map(({ name, data }) => [name, data])).toEqual([
      ["a", a],
      ["b", b],
    ]);
    // The key goes on to name the run that it had started.
    const repeated = await client.start("three-steps", { token: "t", mended }, { key: "k" });
    expect([repeated.status, repeated.body.id]).toEqual([200, run.id]);
  },
  boundMs,
);
