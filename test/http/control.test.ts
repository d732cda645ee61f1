import { beforeEach, expect, test } from "vitest";
import { WrongStatusError } from "../../app/engine/errors.ts";
import { bearer, createClient, type Client } from "./client.ts";

let client: Client;
const id = "run-000001";

beforeEach(async () => {
  client = await createClient();
  await client.send("/v1/agents/echo/runs", { body: { input: 1 } });
});

const post = (path: string, body?: unknown): Promise<Response> =>
  client.send(path, { method: "POST", ...(body === undefined ? {} : { body }) });

test.each([
  ["cancel", "cancelled"],
  ["pause", "paused"],
  ["resume", "running"],
  ["retry", "running"],
])("%s answers with the run as it is then", async (action, status) => {
  const answer = await post(`/v1/runs/${id}/${action}`);
  expect(answer.status).toBe(200);
  expect(await answer.json()).toMatchObject({ id, agent: "echo", status });
});

test("a fork is a new run, which the answer tells", async () => {
  const answer = await post(`/v1/runs/${id}/fork`, { from: { name: "charge" } });
  expect([answer.status, answer.headers.get("location")]).toEqual([202, `/v1/runs/${id}-fork`]);
  expect(await answer.json()).toMatchObject({ id: `${id}-fork` });
});

test.each(["cancel", "pause"])("%s may be repeated", async (action) => {
  const first = await (await post(`/v1/runs/${id}/${action}`)).json();
  const second = await post(`/v1/runs/${id}/${action}`);
  expect([second.status, await second.json()]).toEqual([200, first]);
});

test("a run that is deleted is gone: 204 without a body, then 404", async () => {
  const answer = await client.send(`/v1/runs/${id}`, { method: "DELETE" });
  expect([answer.status, await answer.text()]).toEqual([204, ""]);
  expect((await client.send(`/v1/runs/${id}`, { method: "DELETE" })).status).toBe(404);
  expect((await client.send(`/v1/runs/${id}`)).status).toBe(404);
});

test.each(["retry", "fork"])("%s hands on the place to go on from", async (action) => {
  const from = { path: "review:3", name: "charge", occurrence: 2 };
  await post(`/v1/runs/${id}/${action}`, { from });
  expect(client.host.runs("acme").lastPlace).toEqual(from);
  await post(`/v1/runs/${id}/${action}`, {});
  expect(client.host.runs("acme").lastPlace).toBeUndefined();
});

const actions = ["cancel", "pause", "resume", "retry", "fork"];

test.each(actions)("%s of a run that is not there is 404, of another tenant's too", async (action) => {
  expect((await post(`/v1/runs/run-000009/${action}`)).status).toBe(404);
  const other = await bearer({ tenant: "globex", scope: "runs:write" });
  const answer = await client.send(`/v1/runs/${id}/${action}`, { method: "POST", headers: other });
  expect([answer.status, await answer.json()]).toEqual([404, expect.objectContaining({ code: "not_found" })]);
});

test.each(actions)(
  "%s against the run's status is 409 wrong_status and says what the status is",
  async (action) => {
    const refuse = async (): Promise<never> => {
      throw new WrongStatusError(id, "completed", "it cannot be");
    };
    Object.assign(client.host.runs("acme"), { [action]: refuse });
    const answer = await post(`/v1/runs/${id}/${action}`);
    expect(answer.status).toBe(409);
    expect(await answer.json()).toMatchObject({
      code: "wrong_status",
      detail: expect.stringContaining("completed"),
    });
  },
);

const wrongBodies: readonly (readonly [unknown, string])[] = [
  [{ step: "charge" }, "step"],
  [{ from: { name: "charge", at: 1 } }, "from.at"],
  [{ from: { name: "" } }, "from.name"],
  [{ from: { name: "x".repeat(257) } }, "from.name"],
  [{ from: { path: "a" } }, "from.name"],
  [{ from: { name: "charge", occurrence: -1 } }, "from.occurrence"],
  [{ from: { name: "charge", occurrence: 1.5 } }, "from.occurrence"],
  [{ from: "charge" }, "from"],
  [[], ""],
];

test.each(wrongBodies)("the place %j is 422 and changes nothing", async (body, path) => {
  const answer = await post(`/v1/runs/${id}/retry`, body);
  expect(answer.status).toBe(422);
  const problem = (await answer.json()) as { code: string; issues: { path: string }[] };
  expect([problem.code, problem.issues.map((issue) => issue.path)]).toEqual(["invalid_input", [path]]);
  expect(await (await client.send(`/v1/runs/${id}`)).json()).toMatchObject({ status: "queued" });
});

test.each(actions)(
  "%s takes a body that is no JSON for malformed, and none at all for {}",
  async (action) => {
    expect((await post(`/v1/runs/${id}/${action}`, "from=charge")).status).toBe(400);
    expect((await post(`/v1/runs/${id}/${action}`, "")).status).toBeLessThan(300);
  },
);

test("who may only read changes nothing", async () => {
  const headers = await bearer({ tenant: "acme", scope: "runs:read" });
  for (const action of actions)
    expect((await client.send(`/v1/runs/${id}/${action}`, { method: "POST", headers })).status).toBe(403);
  expect((await client.send(`/v1/runs/${id}`, { method: "DELETE", headers })).status).toBe(403);
  expect((await client.send(`/v1/runs/${id}`)).status).toBe(200);
});

test.each([...actions, "delete"])("%s is answered only when it is durable", async (action) => {
  const durable = Promise.withResolvers<void>();
  let asked = 0;
  client.host.durable = () => ((asked += 1), durable.promise);
  let answered = false;
  const answering = (
    action === "delete"
      ? client.send(`/v1/runs/${id}`, { method: "DELETE" })
      : post(`/v1/runs/${id}/${action}`)
  ).finally(() => (answered = true));
  await expect.poll(() => asked).toBe(1);
  await new Promise((resolve) => setTimeout(resolve, 20));
  expect(answered).toBe(false);
  durable.resolve();
  expect((await answering).ok).toBe(true);
});
