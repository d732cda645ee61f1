import { Hono } from "hono";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { AppEnv } from "../../app/http/user-env.ts";
import { DrainingError, ElsewhereError } from "../../app/storage/errors.ts";
import { Markers, type Errand } from "../../app/http/marker.ts";
import { createClient, forwardedOutcomes, secret, type Client, type ClientRequest } from "./client.ts";
import { holderAt, refusingAddress, serveHolder, times, type HolderServer } from "./holder-server.ts";

const search = { maxTries: 4, withinMs: 2_000, firstPauseMs: 1, maxPauseMs: 5 };
const addedByFly = { "fly-client-ip": "192.0.2.7", "fly-forwarded-port": "443", "fly-region": "fra" };
const start: ClientRequest = { body: { input: 1 } };
let server: HolderServer;
/** A client whose requests come by Fly's proxy, and one whose come around it, as from another app of the organisation. */
let client: Client;
let neighbour: Client;

beforeEach(async () => {
  server = await serveHolder((_incoming, outgoing) => outgoing.end("proxied"));
  const routes = new Hono<AppEnv>().post("/echo", async (c) => c.text(await c.req.text()));
  neighbour = await createClient(routes, { routing: "fly", search });
  client = {
    ...neighbour,
    send: (path, request = {}) =>
      neighbour.send(path, { ...request, headers: { ...addedByFly, ...request.headers } }),
  };
  client.host.refusal = new ElsewhereError("acme", server, "holder");
});
afterEach(async () => {
  await server.close();
});

/** A marker of host-9's. */
function by(errand: Errand, to: string | null): string {
  return new Markers([secret]).sign({ tenantId: "acme", from: "host-9", errand, to });
}

function replayedBy(errand: Errand): Record<string, string> {
  return { "fly-replay-src": `instance=11aa44ee;region=ord;t=1;state=${by(errand, null)}` };
}

test("Fly's proxy is told which Machine has the tenant, and that a failure comes back here", async () => {
  const answer = await client.send("/v1/agents/echo/runs", start);
  expect(answer.headers.get("fly-replay")).toMatch(
    /^instance=00bb33ff;state=host-1\.holder\.\.[\w.-]{87};timeout=5s;fallback=prefer_self$/,
  );
  expect(answer.status).toBe(409);
  expect((await client.send("/v1/tenant")).headers.get("fly-replay")).toMatch(/^instance=00bb33ff;/);
  expect(server.requests).toEqual([]);
  expect(await forwardedOutcomes(client.metrics)).toEqual({ replayed: 2 });
});

test("who reads the answer that is for Fly's proxy finds in it what has happened and what to do", async () => {
  const answer = await client.send("/v1/runs");
  expect(answer.headers.get("content-type")).toBe("application/problem+json");
  expect(await answer.json()).toMatchObject({
    status: 409,
    code: "elsewhere",
    detail: expect.stringMatching(/Nothing was done.*fly-replay.*public or Flycast address/),
  });
});

test("a request that came around Fly's proxy is proxied to the tenant's host, since nobody would replay it", async () => {
  const answer = await neighbour.send("/v1/agents/echo/runs", start);
  expect([answer.headers.get("fly-replay"), await answer.text()]).toEqual([null, "proxied"]);
  expect(await forwardedOutcomes(client.metrics)).toEqual({ answered: 1 });
});

test("one for a home region in which no host is known is served here, since nobody would start one", async () => {
  client.host.refuse = (arrived) =>
    arrived === "first" ? new ElsewhereError("acme", { region: "fra" }, "region") : undefined;
  expect((await neighbour.send("/v1/agents/echo/runs", start)).status).toBe(202);
});

test("one that came around the proxy to a host that is stopping goes to another one", async () => {
  client.host.refusal = new DrainingError();
  client.host.another = server;
  expect(await (await neighbour.send("/v1/runs")).text()).toBe("proxied");
});

test("a request that cannot be authenticated is not replayed", async () => {
  const answer = await client.send("/v1/runs", { headers: { authorization: "Bearer x" } });
  expect([answer.status, answer.headers.get("fly-replay")]).toEqual([401, null]);
});

test.each([
  ["a host that lives there", () => new ElsewhereError("acme", server, "region")],
  ["none that is known of", () => new ElsewhereError("acme", { region: "fra" }, "region")],
])("a tenant at home in another region is replayed there, with %s", async (_where, elsewhere) => {
  client.host.refusal = elsewhere();
  const answer = await client.send("/v1/agents/echo/runs", start);
  expect(answer.headers.get("fly-replay")).toMatch(
    /^region=fra;state=host-1\.region\.\.[\w.-]+;timeout=5s;fallback=prefer_self$/,
  );
});

test("a replay to a home region that came back is served here", async () => {
  client.host.refuse = (arrived) =>
    arrived === "first" ? new ElsewhereError("acme", { region: "fra" }, "region") : undefined;
  const headers = { "fly-replay-failed": "region=fra;reason=no_candidate" };
  expect((await client.send("/v1/agents/echo/runs", { ...start, headers })).status).toBe(202);
});

test.each([
  ["retries_exhausted", "refused"],
  ["timeout", "silent"],
])("a replay that came back for %s counts its host as %s, and is not replayed again", async (reason, how) => {
  const headers = { "fly-replay-failed": `instance=00bb33ff;reason=${reason}` };
  const answer = await client.send("/v1/agents/echo/runs", { ...start, headers });
  expect([answer.status, answer.headers.get("fly-replay")]).toEqual([503, null]);
  expect(await answer.json()).toMatchObject({ detail: expect.stringContaining("nothing was done") });
  expect(client.host.arrivals).toEqual(times(search.maxTries, "forwarded"));
  expect(client.host.unreachable).toEqual(times(search.maxTries, ["host-2", how]));
  expect(server.requests).toEqual([]);
});

test("a replay that came back is served here as soon as its host may be replaced", async () => {
  client.host.refuse = (_arrived, asked) =>
    asked <= 2 ? new ElsewhereError("acme", server, "holder") : undefined;
  const headers = { "fly-replay-failed": "instance=00bb33ff;reason=no_candidate" };
  expect((await client.send("/v1/agents/echo/runs", { ...start, headers })).status).toBe(202);
});

test("what is said of a failed replay counts for the Machine that it names, and no other", async () => {
  const headers = { "fly-replay-failed": "instance=99aa99aa;reason=no_candidate" };
  expect((await client.send("/v1/runs", { headers })).status).toBe(503);
  expect(client.host.unreachable).toEqual([]);
});

test("the status of a tenant whose replay came back says that its host cannot be reached", async () => {
  const headers = { "fly-replay-failed": "instance=00bb33ff;reason=timeout" };
  const answer = await client.send("/v1/tenant", { headers });
  expect([answer.status, await answer.json()]).toEqual([
    200,
    expect.objectContaining({ state: "unavailable", host: "host-2" }),
  ]);
});

test("a replayed request goes no further", async () => {
  const headers = replayedBy("holder");
  const answer = await client.send("/v1/runs", { headers });
  expect([answer.status, answer.headers.get("fly-replay")]).toEqual([503, null]);
  expect(client.host.arrivals).toEqual(["forwarded"]);
});

test("a replay that a client makes up is replayed as any other request of that client", async () => {
  const headers = { "fly-replay-src": "instance=11aa44ee;region=ord;t=1;state=holder" };
  const answer = await client.send("/v1/runs", { headers });
  expect(answer.headers.get("fly-replay")).toMatch(/^instance=00bb33ff;/);
  expect(client.host.arrivals).toEqual(["first"]);
});

const large = "x".repeat(1_000_001);

test.each([
  ["told", { "content-length": String(large.length) }],
  ["not told", {}],
])("a body that is too large for a replay is proxied, its length %s", async (_told, headers) => {
  const answer = await client.send("/app/echo", { body: large, headers });
  expect([answer.headers.get("fly-replay"), await answer.text()]).toEqual([null, "proxied"]);
  expect(server.requests[0]?.body).toBe(large);
  expect(server.requests[0]?.incoming.headers["holdfast-forwarded"]).toMatch(/^host-1\.holder\.host-2\./);
  const small = await client.send("/app/echo", { body: large.slice(1), headers: {} });
  expect(small.headers.get("fly-replay")).toMatch(/^instance=/);
});

test("a large body for a home region in which no host is known is served here", async () => {
  client.host.refuse = (arrived) =>
    arrived === "first" ? new ElsewhereError("acme", { region: "fra" }, "region") : undefined;
  const answer = await client.send("/app/echo", { body: large });
  expect([answer.status, await answer.text()]).toEqual([200, large]);
});

test("a holder that is on no Machine of Fly's is reached at its address", async () => {
  client.host.refusal = new ElsewhereError("acme", { ...server, machine: "laptop:/data" }, "holder");
  expect(await (await client.send("/v1/runs")).text()).toBe("proxied");
});

test("a host that is stopping sends requests to any other Machine, which may send them on once", async () => {
  client.host.refusal = new DrainingError();
  const answer = await client.send("/v1/runs");
  expect(answer.headers.get("fly-replay")).toMatch(
    /^elsewhere=true;state=host-1\.draining\.\.[\w.-]+;timeout=5s;fallback=prefer_self$/,
  );
  const headers = replayedBy("draining");
  const stopping = await client.send("/v1/runs", { headers });
  expect([stopping.status, stopping.headers.get("fly-replay")]).toEqual([503, null]);
  expect(await stopping.json()).toMatchObject({ code: "draining" });
  client.host.refusal = new ElsewhereError("acme", server, "holder");
  const next = await client.send("/v1/runs", { headers });
  expect(next.headers.get("fly-replay")).toMatch(/^instance=00bb33ff;state=host-1\.holder\./);
});

test("a host that is stopping and is alone says so", async () => {
  client.host.refusal = new DrainingError();
  const headers = { "fly-replay-failed": "reason=no_candidate" };
  const answer = await client.send("/v1/runs", { headers });
  expect([answer.status, answer.headers.get("fly-replay")]).toEqual([503, null]);
  expect(await answer.json()).toMatchObject({ code: "draining" });
});

test("an error within the request's own work is the answer, and not sent on", async () => {
  client.host.refusal = undefined;
  client.host.durable = () => Promise.reject(new DrainingError());
  const answer = await client.send("/v1/agents/echo/runs", start);
  expect([answer.status, answer.headers.get("fly-replay")]).toEqual([503, null]);
  const headers = { "holdfast-forwarded": by("holder", "host-1") };
  const forwarded = await client.send("/v1/agents/echo/runs", { ...start, headers });
  expect([forwarded.status, forwarded.headers.get("holdfast-not-here")]).toEqual([503, null]);
});

test("on Fly a holder that cannot be proxied to is looked for as elsewhere", async () => {
  client.host.refusal = new ElsewhereError("acme", holderAt(await refusingAddress()), "holder");
  const answer = await client.send("/app/echo", { body: large });
  expect(answer.status).toBe(503);
  expect(client.host.unreachable).toEqual(times(search.maxTries, ["host-2", "refused"]));
});
