import { beforeEach, expect, test, vi } from "vitest";
import { EngineStoppedError } from "../../app/engine/errors.ts";
import { DrainingError, TenantUnavailableError } from "../../app/storage/errors.ts";
import { bearer, createClient, type Client, type ClientRequest } from "./client.ts";

let client: Client;
beforeEach(async () => {
  client = await createClient();
});

const start = (body: unknown, headers: Record<string, string> = {}): ClientRequest => ({ body, headers });
const deep = `{"input":${"[".repeat(100_000)}${"]".repeat(100_000)}}`;

test.each<[string, string, ClientRequest, number, string]>([
  ["an unknown agent", "/v1/agents/nobody/runs", start({ input: 1 }), 404, "not_found"],
  ["an unknown run", "/v1/runs/run-000009", {}, 404, "not_found"],
  ["what cannot be a run", "/v1/runs/%00", {}, 404, "not_found"],
  ["the history of an unknown run", "/v1/runs/run-000009/history", {}, 404, "not_found"],
  ["a signal to an unknown run", "/v1/runs/run-000009/signals/go", start({}), 404, "not_found"],
  ["an unknown route", "/v1/nothing", {}, 404, "not_found"],
  ["an unknown route outside of /v1", "/favicon.ico", {}, 404, "not_found"],
  ["an unknown method", "/v1/runs", { method: "DELETE" }, 404, "not_found"],
  ["input that fails the schema", "/v1/agents/greet/runs", start({ input: {} }), 422, "invalid_input"],
  ["an unknown body key", "/v1/agents/echo/runs", start({ input: 1, inputs: 2 }), 422, "invalid_input"],
  ["a body that is no object", "/v1/agents/echo/runs", start([]), 422, "invalid_input"],
  ["a delay that is none", "/v1/agents/echo/runs", start({ delay: "soon" }), 422, "invalid_input"],
  ["a negative delay", "/v1/agents/echo/runs", start({ delay: -1 }), 422, "invalid_input"],
  ["an unknown durability", "/v1/agents/echo/runs", start({ durability: "maybe" }), 422, "invalid_input"],
  ["no JSON", "/v1/agents/echo/runs", start("{input: 1}"), 400, "bad_request"],
  ["an empty body", "/v1/agents/echo/runs", start(""), 400, "bad_request"],
  ["JSON too deep to walk", "/v1/agents/echo/runs", start(deep), 400, "bad_request"],
  ["a form", "/v1/agents/echo/runs", start("input=1"), 400, "bad_request"],
  ["a body over 1 MiB", "/v1/agents/echo/runs", start({ input: "x".repeat(1024 * 1024) }), 413, "too_large"],
  ["a wait that is none", "/v1/agents/echo/runs?wait=long", start({ input: 1 }), 400, "bad_request"],
  ["an empty key", "/v1/agents/echo/runs", start({}, { "idempotency-key": "" }), 400, "bad_request"],
  ["a key with a space", "/v1/agents/echo/runs", start({}, { "idempotency-key": "a b" }), 400, "bad_request"],
  [
    "a long key",
    "/v1/agents/echo/runs",
    start({}, { "idempotency-key": "k".repeat(256) }),
    400,
    "bad_request",
  ],
  ["a limit of 0", "/v1/runs?limit=0", {}, 400, "bad_request"],
  ["a limit over 200", "/v1/runs?limit=201", {}, 400, "bad_request"],
  ["a made-up cursor", "/v1/runs?cursor=%F0%9F%92%A9", {}, 400, "bad_request"],
  ["an unknown status", "/v1/runs?status=done", {}, 400, "bad_request"],
  ["a negative place in a history", "/v1/runs/run-000001/history?after=-1", {}, 400, "bad_request"],
  [
    "a signal's name with a control character",
    "/v1/runs/run-000001/signals/a%0Ab",
    start({}),
    400,
    "bad_request",
  ],
  [
    "a tenant that the token is not for",
    "/v1/runs",
    { headers: { "holdfast-tenant": "other" } },
    403,
    "forbidden",
  ],
])("%s gets %s %j → %i %s", async (_what, path, request, status, code) => {
  const answer = await client.send(path, request);
  expect(answer.status).toBe(status);
  expect(answer.headers.get("content-type")).toBe("application/problem+json");
  expect(await answer.json()).toMatchObject({
    type: `urn:holdfast:problem:${code}`,
    title: expect.any(String),
    status,
    detail: expect.stringMatching(/^\S.{10}/),
    code,
    instance: `urn:holdfast:request:${answer.headers.get("x-request-id")}`,
  });
});

test("exactly 1 MiB is taken", async () => {
  const input = "x".repeat(1024 * 1024 - '{"input":""}'.length);
  expect((await client.send("/v1/agents/echo/runs", { body: { input } })).status).toBe(202);
});

test("issues name where and what", async () => {
  const bySchema = await client.send("/v1/agents/greet/runs", { body: { input: {} } });
  expect(await bySchema.json()).toMatchObject({ issues: [{ path: "name", message: "expected text" }] });
  const byBody = await client.send("/v1/agents/echo/runs", { body: { inputs: 1, delay: "soon", at: 2 } });
  const { issues } = (await byBody.json()) as { issues: unknown };
  expect(issues).toEqual([
    { path: "delay", message: expect.stringContaining("duration") },
    { path: "inputs", message: "Unknown key" },
    { path: "at", message: "Unknown key" },
  ]);
});

test("bad input opens no tenant", async () => {
  const use = vi.spyOn(client.host, "use");
  await client.send("/v1/agents/echo/runs", { body: "{" });
  await client.send("/v1/agents/echo/runs", { body: { extra: 1 } });
  await client.send("/v1/runs?limit=0");
  await client.send("/v1/nothing");
  expect(use).not.toHaveBeenCalled();
});

test("a key that comes back with another body is a conflict", async () => {
  const headers = { "idempotency-key": "key-1" };
  await client.send("/v1/agents/echo/runs", { body: { input: 1 }, headers });
  const answer = await client.send("/v1/agents/echo/runs", { body: { input: 2 }, headers });
  expect(answer.status).toBe(409);
  expect(await answer.json()).toMatchObject({ code: "idempotency_conflict" });
});

test("a signal to an ended run is a conflict", async () => {
  await client.send("/v1/agents/echo/runs", { body: { input: 1 } });
  client.host.runs("acme").change("run-000001", { status: "completed" });
  const answer = await client.send("/v1/runs/run-000001/signals/go", { body: {} });
  expect(answer.status).toBe(409);
  expect(await answer.json()).toMatchObject({ code: "wrong_status" });
});

test("another tenant's run is not found", async () => {
  await client.send("/v1/agents/echo/runs", { body: { input: 1 } });
  const headers = await bearer({ tenant: "other", scope: "runs:read" });
  expect((await client.send("/v1/runs/run-000001", { headers })).status).toBe(404);
});

test.each([
  [new TenantUnavailableError("the replica is missing", { retryAfterSeconds: 7 }), "tenant_unavailable", "7"],
  [new DrainingError(), "draining", "1"],
  [new EngineStoppedError(), "draining", "1"],
])("%s answers 503 and says when to come back", async (error, code, retryAfter) => {
  client.host.refusal = error;
  const answer = await client.send("/v1/runs");
  expect(answer.status).toBe(503);
  expect(answer.headers.get("retry-after")).toBe(retryAfter);
  expect(await answer.json()).toMatchObject({ code, detail: error.message });
});

test("an unforeseen error shows nothing of itself, and is in the log under the request's id", async () => {
  client.host.refusal = Object.assign(new Error("secret detail"), { code: "SQLITE_CORRUPT" });
  const answer = await client.send("/v1/runs", { headers: { "x-request-id": "request-1" } });
  expect(answer.status).toBe(500);
  expect(answer.headers.get("x-request-id")).toBe("request-1");
  const body = await answer.text();
  expect(body).toContain("request-1");
  expect(body).not.toMatch(/secret detail|SQLITE_CORRUPT|\.ts/);
  const line = client.logged.find((entry) => entry.includes("a request failed"));
  expect(line).toContain("secret detail");
  expect(line).toContain('"requestId":"request-1"');
});

test("a thrown value that is no error is answered too", async () => {
  vi.spyOn(client.host, "use").mockRejectedValue("just text");
  const answer = await client.send("/v1/runs");
  expect(answer.status).toBe(500);
  expect(await answer.json()).toMatchObject({ code: "internal" });
});

test("a request id that could forge a log line or a header is replaced", async () => {
  const answer = await client.send("/healthz", { headers: { "x-request-id": 'a"b c' } });
  expect(answer.headers.get("x-request-id")).toMatch(/^[0-9a-f-]{36}$/);
});
