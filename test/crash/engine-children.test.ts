import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import type { RunJson } from "../../app/http/run-json.ts";
import { dataOf, historyWith, KilledWorker, rowsOf, runWith } from "../support/killed-worker.ts";
import type { WorkerClient } from "../support/worker-client.ts";

let worker: KilledWorker;
beforeAll(async () => {
  worker = await KilledWorker.open();
});
beforeEach(() => worker.start());
afterAll(() => worker.close());

/** In each test the worker is killed once, and its disk wiped; each has a tenant of its own. */
const boundMs = 60_000;

async function childrenOf(client: WorkerClient, parent: string): Promise<readonly RunJson[]> {
  return (await client.runs(null)).body.items.filter((run) => run.parent === parent).toReversed();
}

test.each([1, 50])(
  "a run gets the output of its children, %i of them, also if all were killed on the way",
  async (children) => {
    const tenant = `family-${children}`;
    let client = await worker.client(tenant);
    const { body: run } = await client.start("family", { children, napMs: 1_500 });
    await historyWith(client, run.id, "child.started", children);
    await worker.dieAndReturn();
    client = await worker.client(tenant);
    const { output } = await runWith(client, run.id, "completed");
    expect(output).toEqual(Array.from({ length: children }, (_, index) => `child ${index} is up`));
    const found = await childrenOf(client, run.id);
    expect(found.map(({ status }) => status)).toEqual(Array.from({ length: children }, () => "completed"));
    for (const { id } of found) {
      const executed = worker.executed(id);
      expect(executed.filter((step) => step === "stand up")).toHaveLength(1);
    }
    const history = (await client.history(run.id)).body.items;
    expect(rowsOf(history, "child.started")).toHaveLength(children);
    expect(rowsOf(history, "child.completed")).toHaveLength(children);
  },
  boundMs,
);

test(
  "who cancels a run cancels the children that it waits for",
  async () => {
    let client = await worker.client("cancelled");
    const { body: run } = await client.start("family", { children: 5, napMs: 600_000 });
    await historyWith(client, run.id, "child.started", 5);
    await worker.dieAndReturn();
    client = await worker.client("cancelled");
    expect((await client.control(run.id, "cancel")).body.status).toBe("cancelled");
    const children = await childrenOf(client, run.id);
    expect(children).toHaveLength(5);
    for (const { id } of children) {
      await runWith(client, id, "cancelled");
      expect(worker.executed(id)).not.toContain("stand up");
    }
  },
  boundMs,
);

test(
  "a detached run outlives the one that started it",
  async () => {
    let client = await worker.client("detached");
    const { body: run } = await client.start("starter", { token: "t", napMs: 2_000 });
    const [row] = rowsOf(await historyWith(client, run.id, "child.detached"), "child.detached");
    const { runId } = dataOf<{ runId: string }>(row);
    await worker.dieAndReturn();
    client = await worker.client("detached");
    expect((await client.control(run.id, "cancel")).body.status).toBe("cancelled");
    const child = await runWith(client, runId, "completed");
    expect(child).toMatchObject({ agent: "leaf", parent: null, output: "t is up" });
  },
  boundMs,
);

test(
  "a run that failed with one child is retried, although its other child was cancelled with it",
  async () => {
    let client = await worker.client("uneven");
    const mended = join(worker.folder, "mended-uneven");
    const { body: run } = await client.start("uneven", { mended });
    await runWith(client, run.id, "failed");
    await worker.dieAndReturn();
    client = await worker.client("uneven");
    await writeFile(mended, "");
    expect((await client.control(run.id, "retry")).status).toBe(200);
    const { output } = await runWith(client, run.id, "completed");
    expect(output).toEqual(["steady is up", expect.stringContaining("fragile:break")]);
  },
  boundMs,
);

test(
  "a run that is deleted takes its children along, for good",
  async () => {
    let client = await worker.client("deleted");
    const { body: run } = await client.start("family", { children: 2, napMs: 10 }, { wait: "20s" });
    expect(run.status).toBe("completed");
    const [child] = await childrenOf(client, run.id);
    expect(await client.remove(run.id)).toMatchObject({ status: 204, body: "" });
    await worker.dieAndReturn();
    client = await worker.client("deleted");
    expect((await client.run(run.id)).status).toBe(404);
    expect((await client.run(child?.id ?? "")).status).toBe(404);
    expect((await client.history(run.id)).status).toBe(404);
    expect((await client.remove(run.id)).status).toBe(404);
    expect((await client.runs(null)).body.items).toEqual([]);
  },
  boundMs,
);
