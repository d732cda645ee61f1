import { beforeEach, expect, test } from "vitest";
import { EngineStoppedError } from "../../app/engine/errors.ts";
import { NotDurableError } from "../../app/storage/errors.ts";
import { createClient, type Client } from "./client.ts";

let client: Client;
beforeEach(async () => {
  client = await createClient();
});

test("a start answers 202 with the run and where it is", async () => {
  const answer = await client.send("/v1/agents/echo/runs", { body: { input: { a: 1 } } });
  expect(answer.status).toBe(202);
  expect(answer.headers.get("location")).toBe("/v1/runs/run-000001");
  expect(await answer.json()).toEqual({
    id: "run-000001",
    agent: "echo",
    version: null,
    status: "queued",
    state: null,
    input: { a: 1 },
    output: null,
    error: null,
    parent: null,
    createdAt: "1970-01-01T00:00:01.000Z",
    startedAt: null,
    endedAt: null,
    updatedAt: "1970-01-01T00:00:01.000Z",
    wakeAt: null,
  });
});

test.each([[{ b: 2 }], [null], ["text"], [[1, 2]], [0], [undefined]])(
  "any JSON is an input if the agent takes it: %j",
  async (input) => {
    const answer = await client.send("/v1/agents/echo/runs", { body: { input } });
    expect(answer.status).toBe(202);
    expect(await answer.json()).toMatchObject({ input: input ?? null });
  },
);

test("a body needs no content type, since `curl -d` sends a wrong one", async () => {
  const headers = { "content-type": "application/x-www-form-urlencoded" };
  const answer = await client.send("/v1/agents/echo/runs", { body: { input: 1 }, headers });
  expect(answer.status).toBe(202);
});

test("a repeat with the same key answers 200 and the same run", async () => {
  const request = { body: { input: 1 }, headers: { "idempotency-key": "key-1" } };
  const first = await client.send("/v1/agents/echo/runs", request);
  const second = await client.send("/v1/agents/echo/runs", request);
  expect([first.status, second.status]).toEqual([202, 200]);
  expect(await second.json()).toEqual(await first.json());
});

test("a delay is text or milliseconds", async () => {
  const text = await client.send("/v1/agents/echo/runs", { body: { input: 1, delay: "10s" } });
  expect(await text.json()).toMatchObject({ wakeAt: "1970-01-01T00:00:11.000Z" });
  const ms = await client.send("/v1/agents/echo/runs", { body: { input: 1, delay: 500 } });
  expect(await ms.json()).toMatchObject({ wakeAt: "1970-01-01T00:00:01.500Z" });
});

test("a wait answers 200 with the output when the run has ended", async () => {
  const answering = client.send("/v1/agents/echo/runs?wait=30s", { body: { input: 1 } });
  await expect.poll(() => client.host.runs("acme").waiting).toBe(1);
  client.host.runs("acme").change("run-000001", { status: "completed", output: "done", endedAt: 5_000 });
  const answer = await answering;
  expect(answer.status).toBe(200);
  expect(await answer.json()).toMatchObject({ status: "completed", output: "done" });
});

test("a wait that is over before the run answers 202", async () => {
  const answer = await client.send("/v1/agents/echo/runs?wait=20ms", { body: { input: 1 } });
  expect(answer.status).toBe(202);
});

test("a wait that the host's end cuts off answers with the run that was started, not to start it again", async () => {
  client.host.runs("acme").ended = () => Promise.reject(new EngineStoppedError());
  const answer = await client.send("/v1/agents/echo/runs?wait=30s", { body: { input: 1 } });
  expect(answer.status).toBe(202);
  expect(answer.headers.get("location")).toBe("/v1/runs/run-000001");
  expect(await answer.json()).toMatchObject({ id: "run-000001", status: "queued" });
});

test("a wait that is cut off is answered only if what was started is durable", async () => {
  client.host.runs("acme").ended = () => Promise.reject(new EngineStoppedError());
  let gates = 0;
  client.host.durable = async () => {
    if ((gates += 1) === 2) throw new NotDurableError("The host was fenced.");
  };
  const answer = await client.send("/v1/agents/echo/runs?wait=30s", { body: { input: 1 } });
  expect(answer.status).toBe(503);
  expect(await answer.json()).toMatchObject({ code: "not_durable" });
});

test("a client that goes away while it waits lets the tenant go", async () => {
  const gone = new AbortController();
  const answering = client.send("/v1/agents/echo/runs?wait=60s", { body: { input: 1 }, signal: gone.signal });
  await expect.poll(() => client.host.runs("acme").waiting).toBe(1);
  expect(client.host.inUse).toBe(1);
  gone.abort();
  await answering;
  expect(client.host.inUse).toBe(0);
  client.host.runs("acme").change("run-000001", { status: "completed" });
});

test("a run shows its error with the causes, and no stack", async () => {
  await client.send("/v1/agents/echo/runs", { body: { input: 1 } });
  const error = {
    name: "StepError",
    message: "no",
    step: "fetch",
    cause: { name: "Error", message: "inner" },
  };
  client.host.runs("acme").change("run-000001", { status: "failed", error, endedAt: 9_000 });
  const run = await (await client.send("/v1/runs/run-000001")).json();
  expect(run).toMatchObject({
    status: "failed",
    error,
    endedAt: "1970-01-01T00:00:09.000Z",
  });
  expect(JSON.stringify(run)).not.toContain("stack");
});

test("a list shows every run once, newest first, page by page", async () => {
  for (let count = 0; count < 5; count += 1)
    await client.send("/v1/agents/echo/runs", { body: { input: count } });
  const seen: string[] = [];
  let next: string | null = null;
  do {
    const cursor: string = next === null ? "" : `&cursor=${next}`;
    const answer = await client.send(`/v1/runs?limit=2${cursor}`);
    const page = (await answer.json()) as { items: { id: string }[]; next: string | null };
    seen.push(...page.items.map((run) => run.id));
    next = page.next;
  } while (next !== null && seen.length < 10);
  expect(seen).toEqual(["run-000005", "run-000004", "run-000003", "run-000002", "run-000001"]);
});

test("a list can be narrowed by agent and status", async () => {
  await client.send("/v1/agents/echo/runs", { body: { input: 1 } });
  await client.send("/v1/agents/greet/runs", { body: { input: { name: "Ada" } } });
  client.host.runs("acme").change("run-000002", { status: "completed" });
  const ids = async (query: string): Promise<string[]> => {
    const page = (await (await client.send(`/v1/runs?${query}`)).json()) as { items: { id: string }[] };
    return page.items.map((run) => run.id);
  };
  expect(await ids("agent=echo")).toEqual(["run-000001"]);
  expect(await ids("status=completed")).toEqual(["run-000002"]);
  expect(await ids("agent=echo&status=completed")).toEqual([]);
});

test("a history goes on after a row, and says where the next page starts", async () => {
  await client.send("/v1/agents/echo/runs", { body: { input: 1 } });
  client.host.runs("acme").events.set(
    "run-000001",
    [1, 2, 3].map((seq) => ({
      runId: "run-000001",
      seq,
      at: seq,
      kind: "step.completed",
      path: "",
      name: `step ${seq}`,
      occurrence: 0,
      attempt: 1,
      data: seq === 1 ? undefined : { seq },
    })),
  );
  const first = await (await client.send("/v1/runs/run-000001/history?limit=2")).json();
  expect(first).toEqual({
    items: [
      {
        seq: 1,
        at: "1970-01-01T00:00:00.001Z",
        kind: "step.completed",
        path: "",
        name: "step 1",
        occurrence: 0,
        attempt: 1,
        data: null,
      },
      expect.objectContaining({ seq: 2, data: { seq: 2 } }),
    ],
    next: 2,
  });
  const second = await (await client.send("/v1/runs/run-000001/history?after=2&limit=2")).json();
  expect(second).toMatchObject({ items: [{ seq: 3 }], next: null });
});

test("a signal answers 202 with its id, and 200 with the same id on a repeat", async () => {
  await client.send("/v1/agents/echo/runs", { body: { input: 1 } });
  const request = { body: { payload: "yes" }, headers: { "idempotency-key": "key-1" } };
  const first = await client.send("/v1/runs/run-000001/signals/decided", request);
  const second = await client.send("/v1/runs/run-000001/signals/decided", request);
  expect([first.status, second.status]).toEqual([202, 200]);
  expect(await first.json()).toEqual({ id: "signal-1" });
  expect(await second.json()).toEqual({ id: "signal-1" });
});
