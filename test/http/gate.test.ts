import { beforeEach, expect, test, vi } from "vitest";
import { NotDurableError, TenantUnavailableError } from "../../app/storage/errors.ts";
import { createClient, type Client, type ClientRequest } from "./client.ts";

let client: Client;
beforeEach(async () => {
  client = await createClient();
  await client.send("/v1/agents/echo/runs", { body: { input: 1 }, headers: { "idempotency-key": "first" } });
});

const answersOfATenant: [string, string, ClientRequest, number][] = [
  ["a started run", "/v1/agents/echo/runs", { body: { input: 1 } }, 202],
  [
    "a repeated start",
    "/v1/agents/echo/runs",
    { body: { input: 1 }, headers: { "idempotency-key": "first" } },
    200,
  ],
  [
    "a conflict",
    "/v1/agents/echo/runs",
    { body: { input: 2 }, headers: { "idempotency-key": "first" } },
    409,
  ],
  ["an unknown agent", "/v1/agents/nobody/runs", { body: { input: 1 } }, 404],
  ["a list", "/v1/runs", {}, 200],
  ["a run", "/v1/runs/run-000001", {}, 200],
  ["a missing run", "/v1/runs/run-000009", {}, 404],
  ["a history", "/v1/runs/run-000001/history", {}, 200],
  ["a signal", "/v1/runs/run-000001/signals/go", { body: { payload: 1 } }, 202],
];

test.each(answersOfATenant)("%s is withheld until it is durable", async (_what, path, request, status) => {
  const durable = Promise.withResolvers<void>();
  const asked = vi.fn<() => Promise<void>>(() => durable.promise);
  client.host.durable = asked;
  let answered = false;
  const answering = client.send(path, request).finally(() => (answered = true));
  await expect.poll(() => asked.mock.calls.length).toBe(1);
  await new Promise((resolve) => setTimeout(resolve, 20));
  expect(answered).toBe(false);
  durable.resolve();
  expect((await answering).status).toBe(status);
});

test.each(answersOfATenant)(
  "%s that cannot be made durable is 503, and nothing of it leaves",
  async (_what, path, request) => {
    client.host.durable = () => Promise.reject(new NotDurableError("the store does not answer"));
    const answer = await client.send(path, request);
    expect(answer.status).toBe(503);
    expect(answer.headers.get("retry-after")).toBe("1");
    expect(answer.headers.get("location")).toBeNull();
    expect(answer.headers.get("content-type")).toBe("application/problem+json");
    const body = await answer.text();
    expect(JSON.parse(body)).toMatchObject({
      code: "not_durable",
      detail: expect.stringContaining("the store does not answer"),
    });
    expect(body).not.toContain("run-00000");
  },
);

test("a wait starts after the acknowledgement, and its end is gated again", async () => {
  const gates: PromiseWithResolvers<void>[] = [];
  client.host.durable = () => {
    const passing = Promise.withResolvers<void>();
    gates.push(passing);
    return passing.promise;
  };
  const runs = client.host.runs("acme");
  let answered = false;
  const answering = client
    .send("/v1/agents/echo/runs?wait=30s", { body: { input: 1 } })
    .finally(() => (answered = true));
  await expect.poll(() => gates.length).toBe(1);
  expect(runs.waiting).toBe(0);
  gates[0]?.resolve();
  await expect.poll(() => runs.waiting).toBe(1);
  runs.change("run-000002", { status: "completed", output: "done" });
  await expect.poll(() => gates.length).toBe(2);
  await new Promise((resolve) => setTimeout(resolve, 20));
  expect(answered).toBe(false);
  gates[1]?.resolve();
  expect((await answering).status).toBe(200);
});

test("a run that could not be acknowledged is not waited for", async () => {
  client.host.durable = () => Promise.reject(new NotDurableError("the store does not answer"));
  const answer = await client.send("/v1/agents/echo/runs?wait=30s", { body: { input: 1 } });
  expect(answer.status).toBe(503);
});

test("a local tenant answers without a gate, but for requests and runs that ask for more", async () => {
  const asked = vi.fn<() => Promise<void>>(async () => {});
  client.host.durability = "local";
  client.host.durable = asked;
  await client.send("/v1/agents/echo/runs", { body: { input: 1 } });
  await client.send("/v1/runs/run-000001");
  await client.send("/v1/runs/run-000009");
  expect(asked).toHaveBeenCalledTimes(0);

  await client.send("/v1/agents/echo/runs", { body: { input: 1, durability: "replicated" } });
  expect(asked).toHaveBeenCalledTimes(1);
  await client.send("/v1/runs/run-000003");
  await client.send("/v1/runs/run-000003/history");
  await client.send("/v1/runs/run-000003/signals/go", { body: {} });
  await client.send("/v1/runs");
  expect(asked).toHaveBeenCalledTimes(5);
});

test("a request cannot lower what its tenant promises", async () => {
  const asked = vi.fn<() => Promise<void>>(async () => {});
  client.host.durable = asked;
  await client.send("/v1/agents/echo/runs", { body: { input: 1, durability: "local" } });
  expect(asked).toHaveBeenCalledTimes(1);
});

test("the tenant is kept open until its answer has passed the gate", async () => {
  const durable = Promise.withResolvers<void>();
  client.host.durable = () => durable.promise;
  const answering = client.send("/v1/runs");
  await expect.poll(() => client.host.inUse).toBe(1);
  durable.resolve();
  await answering;
  expect(client.host.inUse).toBe(0);
});

test("the tenant's status answers while nothing else does", async () => {
  client.host.durable = () => Promise.reject(new NotDurableError("the store does not answer"));
  client.host.refusal = new TenantUnavailableError("the store does not answer");
  const answer = await client.send("/v1/tenant");
  expect(answer.status).toBe(200);
  expect(await answer.json()).toEqual({
    id: "acme",
    state: "unavailable",
    reason: "the store does not answer",
    epoch: 3,
    host: "host-1",
    region: "ams",
    sizeBytes: 4096,
    restorePoint: null,
    runs: { running: 1 },
    replication: {
      state: "failing",
      oldestUndurableAt: "1970-01-01T00:00:00.000Z",
      lastDurableAt: null,
      error: "no route to the store",
    },
  });
});

test("a damaged tenant's refusal and status tell up to where it can be restored", async () => {
  const damaged = new TenantUnavailableError("The replica has a gap", { damage: "replica" });
  client.host.refusal = damaged.withRestorePoint({ epoch: 7, txid: 41, at: Date.UTC(2026, 2, 1) });
  const refused = await client.send("/v1/runs");
  expect([refused.status, await refused.json()]).toMatchObject([
    503,
    {
      code: "tenant_unavailable",
      detail:
        "The replica has a gap. The newest verified restore point is epoch 7, txid 41, of 2026-03-01T00:00:00.000Z.",
    },
  ]);
  expect(await (await client.send("/v1/tenant")).json()).toMatchObject({
    restorePoint: { epoch: 7, txid: 41, at: "2026-03-01T00:00:00.000Z" },
  });
});
