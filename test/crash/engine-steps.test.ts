import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { historyWith, KilledWorker, rowsOf, runWith } from "../support/killed-worker.ts";

let worker: KilledWorker;
beforeAll(async () => {
  worker = await KilledWorker.open();
});
beforeEach(() => worker.start());
afterAll(() => worker.close());

/** In each test the worker is killed once, and its disk wiped; each has a tenant of its own. */
const boundMs = 60_000;

interface Refund {
  readonly orderId: string;
  readonly runId: string;
}

test(
  "step.tx commits the user's rows and its record together: as many rows as records, each once",
  async () => {
    const count = 30;
    let client = await worker.client("rows");
    const { body: run } = await client.start("rows", { token: "t", count, ms: 10 });
    const before = await historyWith(client, run.id, "step.completed", 14);
    await worker.dieAndReturn();
    client = await worker.client("rows");
    expect((await runWith(client, run.id, "completed")).output).toBe(count);
    const after = (await client.history(run.id)).body.items;
    expect(after.slice(0, before.length)).toEqual(before);
    const records = rowsOf(after, "step.completed").filter(({ name }) => name.startsWith("row "));
    const { items } = (await client.app<{ items: readonly Refund[] }>("/refunds")).body;
    expect(items.map(({ orderId }) => orderId.split(":").slice(0, 2).join(":")).toReversed()).toEqual(
      records.map(({ data }) => data),
    );
    expect(records).toHaveLength(count);
  },
  boundMs,
);

test(
  "step.map goes on with the branches that had not ended, and gives results in the order of the items",
  async () => {
    const width = 300;
    let client = await worker.client("wide");
    const { body: run } = await client.start("wide", { token: "t", width, concurrency: 20 });
    const before = await historyWith(client, run.id, "step.completed", 100);
    const settled = rowsOf(before, "step.completed").map(({ path, name }) => `${path} ${name}`);
    const executedBefore = worker.executed(run.id).length;
    await worker.dieAndReturn();
    client = await worker.client("wide");
    const { output } = await runWith(client, run.id, "completed");
    const results = output as { index: number; doubled: number; done: string }[];
    expect(results.map(({ index, doubled }) => [index, doubled])).toEqual(
      Array.from({ length: width }, (_, index) => [index, index * 2]),
    );
    const executed = worker.executed(run.id);
    expect(executedBefore).toBeLessThan(width);
    expect(new Set(executed).size).toBe(width);
    const twice = executed.filter((step, index) => executed.indexOf(step) !== index);
    expect(twice.filter((step) => settled.includes(`branch:${step.replace("work ", "")} work`))).toEqual([]);
  },
  boundMs,
);

test(
  "Promise.all and Promise.race resolve in a replay as they did at first",
  async () => {
    let client = await worker.client("together");
    const { body: run } = await client.start("together", { token: "t" });
    await historyWith(client, run.id, "signal.waiting");
    await worker.dieAndReturn();
    client = await worker.client("together");
    await client.signal(run.id, "go", { payload: null });
    const { output } = await runWith(client, run.id, "completed");
    const result = {
      all: ["slow", "middle", "quick"],
      winner: "hare",
      order: ["quick", "middle", "slow"],
    };
    expect(output).toEqual({ first: result, again: result });
    expect(worker.executed(run.id)).toEqual(["note"]);
  },
  boundMs,
);

test(
  "now, uuid and random are the same after a kill",
  async () => {
    let client = await worker.client("values");
    const { body: run } = await client.start("values", {});
    const before = await historyWith(client, run.id, "signal.waiting");
    await worker.dieAndReturn();
    client = await worker.client("values");
    await client.signal(run.id, "go", { payload: null });
    const { output } = await runWith(client, run.id, "completed");
    type Values = Record<"first" | "second", Record<"now" | "uuid" | "random", unknown>>;
    const { noted, again, later } = output as { noted: Values; again: Values; later: Values["first"] };
    expect(again).toEqual(noted);
    expect(rowsOf(before, "step.completed").map(({ data }) => data)).toEqual([noted]);
    expect(new Set([noted.first.uuid, noted.second.uuid, later.uuid]).size).toBe(3);
    expect(new Set([noted.first.random, noted.second.random, later.random]).size).toBe(3);
    expect(Date.parse(String(later.now))).toBeGreaterThan(Date.parse(String(noted.second.now)));
  },
  boundMs,
);

test(
  "what a run says of itself is seen, also after a kill, and a replay does not repeat it",
  async () => {
    let client = await worker.client("talker");
    const { body: run } = await client.start("talker", {});
    await historyWith(client, run.id, "signal.waiting");
    const state = { at: "the wait", percent: 50 };
    expect((await client.run(run.id)).body.state).toEqual(state);
    await worker.dieAndReturn();
    client = await worker.client("talker");
    expect((await client.run(run.id)).body).toMatchObject({ status: "waiting", state });
    await client.signal(run.id, "go", { payload: null });
    expect((await runWith(client, run.id, "completed")).state).toEqual({ at: "the end" });
  },
  boundMs,
);
