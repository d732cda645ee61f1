import { once } from "node:events";
import { connect } from "node:net";
import { Hono } from "hono";
import { pino } from "pino";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { createApp, type AppParts } from "../../app/http/app.ts";
import { Forwarder } from "../../app/http/forward.ts";
import { LostHolders } from "../../app/http/lost-holders.ts";
import { Markers, type Marker } from "../../app/http/marker.ts";
import { createMetrics, type Metrics } from "../../app/http/metrics.ts";
import { serveApp } from "../../app/http/server.ts";
import type { AppEnv } from "../../app/http/user-env.ts";
import {
  DrainingError,
  ElsewhereError,
  TenantUnavailableError,
  type Holder,
} from "../../app/storage/errors.ts";
import { FakeHost } from "../fakes/host.ts";
import { bearer, secret } from "./client.ts";
import {
  holderAt,
  refusingAddress,
  serveHolder,
  serveSilence,
  times,
  type HolderServer,
} from "./holder-server.ts";

/** A host that serves, and what it counts. */
interface Served extends Holder {
  readonly host: FakeHost;
  readonly metrics: Metrics;
}

const quick = { maxTries: 4, withinMs: 2_000, firstPauseMs: 1, maxPauseMs: 5 };
const cleanups: (() => Promise<void>)[] = [];
let headers: Record<string, string>;
let here: Served;

beforeEach(async () => {
  headers = await bearer({ tenant: "acme", scope: "runs:read runs:write" });
  here = await serve("host-1");
});
afterEach(async () => {
  for (const cleanup of cleanups.splice(0)) await cleanup();
});

async function serve(hostId: string, parts: Partial<AppParts> = {}): Promise<Served> {
  const host = new FakeHost(hostId);
  const metrics = createMetrics();
  const log = pino({ level: "silent" });
  const app = createApp({
    host,
    routing: "proxy",
    tokenSecrets: [secret],
    metrics,
    log,
    search: quick,
    ...parts,
  });
  const server = await serveApp(app, 0);
  cleanups.push(() => server.close(0));
  return { host, metrics, ...holderAt(`http://127.0.0.1:${server.port}`, hostId) };
}

async function holder(...parameters: Parameters<typeof serveHolder>): Promise<HolderServer> {
  const server = await serveHolder(...parameters);
  cleanups.push(() => server.close());
  return server;
}

/** The tenant is at `where` as far as `served` knows, for so many questions or for ever. */
function sendsTo(served: Served, where: Holder, questions = Infinity): void {
  served.host.refuse = (_arrived, asked) =>
    asked <= questions ? new ElsewhereError("acme", where, "holder") : undefined;
}

function send(to: Served, path: string, init: RequestInit = {}): Promise<Response> {
  return fetch(`${to.address}${path}`, {
    ...init,
    headers: { ...headers, ...(init.headers as Record<string, string>) },
  });
}

const start = (extra: Record<string, string> = {}): RequestInit => ({
  method: "POST",
  body: JSON.stringify({ input: 1 }),
  headers: extra,
});

async function outcomes(served: Served): Promise<Record<string, number>> {
  const { values } = await served.metrics.forwardedRequests.get();
  return Object.fromEntries(values.map(({ labels, value }) => [labels.outcome, value]));
}

function markerOf(tenantId: string, to: string): Marker {
  return { tenantId, from: "host-9", errand: "region", to };
}

async function problem(answer: Response): Promise<{ code: string; detail: string }> {
  return (await answer.json()) as { code: string; detail: string };
}

test("a request for a tenant of another host is answered by that one", async () => {
  const there = await serve("host-2");
  sendsTo(here, there);
  const started = await send(here, "/v1/agents/echo/runs", start({ "x-request-id": "request-1" }));
  expect([started.status, started.headers.get("x-request-id")]).toEqual([202, "request-1"]);
  expect(started.headers.get("location")).toBe("/v1/runs/run-000001");
  expect((await send(here, "/v1/runs/run-000001")).status).toBe(200);
  expect((await send(here, "/v1/runs/run-000009")).status).toBe(404);
  expect(await there.host.runs("acme").list({ limit: 9 })).toHaveLength(1);
  expect(here.host.tenants.size).toBe(0);
  expect(there.host.arrivals).toEqual(["forwarded", "forwarded", "forwarded"]);
  expect(await outcomes(here)).toEqual({ answered: 3 });
  expect(here.host.unreachable).toEqual([]);
});

test("the tenant that an operator names goes along, and so does who has asked", async () => {
  const server = await holder((_incoming, outgoing) => outgoing.end("{}"));
  sendsTo(here, server);
  headers = await bearer({ scope: "operator" });
  const extra = { "holdfast-tenant": "globex", "x-forwarded-for": "192.0.2.7", "x-forwarded-proto": "https" };
  await send(here, "/v1/runs?limit=3", { headers: extra });
  expect(server.requests[0]?.incoming.url).toBe("/v1/runs?limit=3");
  expect(server.requests[0]?.incoming.headers).toMatchObject({
    ...extra,
    authorization: headers.authorization,
    "holdfast-forwarded": expect.stringMatching(/^host-1\.holder\.host-2\.[\w-]{43}$/),
    "x-forwarded-for": expect.stringMatching(/^192\.0\.2\.7, .*127\.0\.0\.1$/),
  });
});

test("a bad token and a bad body are answered at once, wherever the tenant is", async () => {
  const server = await holder((_incoming, outgoing) => outgoing.end("{}"));
  sendsTo(here, server);
  expect((await send(here, "/v1/runs", { headers: { authorization: "Bearer x.y.z" } })).status).toBe(401);
  expect((await send(here, "/v1/agents/echo/runs", { method: "POST", body: "{" })).status).toBe(400);
  expect(
    (await send(here, "/v1/runs", { headers: await bearer({ tenant: "acme", scope: "x" }) })).status,
  ).toBe(403);
  const large = { method: "POST", body: "x".repeat(1024 * 1024 + 1) };
  expect((await send(here, "/v1/agents/echo/runs", large)).status).toBe(413);
  expect((await send(here, "/app/x", large)).status).toBe(404);
  expect(server.requests).toEqual([]);
});

test("headers that have no room for what a host adds are refused, not taken for the silence of the next host", async () => {
  const there = await serve("host-2");
  sendsTo(here, there);
  const filled = (bytes: number) => ({ headers: { "x-filler": "x".repeat(bytes) } });
  expect((await send(here, "/v1/runs", filled(14_500))).status).toBe(200);
  const answer = await send(here, "/v1/runs", filled(15_900));
  expect([answer.status, (await problem(answer)).code]).toEqual([431, "headers_too_large"]);
  expect(here.host.unreachable).toEqual([]);
  expect(there.host.arrivals).toEqual(["forwarded"]);
});

test("what is no tenant's is answered where it arrives", async () => {
  const server = await holder((_incoming, outgoing) => outgoing.end("{}"));
  sendsTo(here, server);
  for (const path of ["/", "/healthz", "/readyz", "/metrics"])
    expect((await send(here, path)).status, path).toBe(200);
  expect(server.requests).toEqual([]);
});

test("a user's route is answered where the tenant is, and reads its body there or here", async () => {
  const routes = new Hono<AppEnv>().post("/echo", async (c) =>
    c.json({ got: await c.req.json(), tenant: c.var.tenant.id }),
  );
  const there = await serve("host-2", { routes });
  const sender = await serve("host-1", { routes });
  sendsTo(sender, there);
  const echo = { method: "POST", body: '{"a":1}' };
  expect(await (await send(sender, "/app/echo", echo)).json()).toEqual({ got: { a: 1 }, tenant: "acme" });
  expect(sender.host.arrivals).toEqual(["first"]);

  // The tenant is let go by that host while the request is on its way, and is claimed here.
  sendsTo(there, sender);
  sender.host.refuse = (_arrived, asked) =>
    asked <= 2 ? new ElsewhereError("acme", there, "holder") : undefined;
  expect(await (await send(sender, "/app/echo", echo)).json()).toEqual({ got: { a: 1 }, tenant: "acme" });
  expect(await outcomes(sender)).toEqual({ answered: 1, "not-here": 1 });
});

test("a long wait is passed on, and a client that leaves it leaves it everywhere", async () => {
  const there = await serve("host-2");
  sendsTo(here, there);
  const gone = new AbortController();
  const left = send(here, "/v1/agents/echo/runs?wait=60s", { ...start(), signal: gone.signal });
  await expect.poll(() => there.host.runs("acme").waiting).toBe(1);
  gone.abort();
  await expect(left).rejects.toThrow("aborted");
  await expect.poll(() => there.host.inUse).toBe(0);
  there.host.runs("acme").change("run-000001", { status: "completed" });
  expect(await outcomes(here)).toEqual({ abandoned: 1 });
});

test("a host stays while a request that it has sent on is answered", async () => {
  const server = await holder(() => {});
  sendsTo(here, server);
  const answering = send(here, "/v1/agents/echo/runs?wait=30s", start());
  await vi.waitFor(() => expect(server.requests).toHaveLength(1));
  expect([here.host.inUse, here.host.attended]).toEqual([0, 1]);
  await server.close();
  expect((await answering).status).toBe(503);
  expect(here.host.attended).toBe(0);
});

test("a host that closes answers what it has sent on: the truth without a key, to come again with one", async () => {
  const forwarder = new Forwarder(new LostHolders(here.host));
  const sender = await serve("host-3", { forwarder });
  const server = await holder(() => {});
  sendsTo(sender, server);
  const path = "/v1/agents/echo/runs?wait=30s";
  const answering = [start(), start({ "idempotency-key": "a" })].map((init) => send(sender, path, init));
  await vi.waitFor(() => expect(server.requests).toHaveLength(2));
  forwarder.stop();
  const [bare, keyed] = await Promise.all(answering.map(async (answer) => problem(await answer)));
  expect(bare).toMatchObject({
    code: "tenant_unavailable",
    detail: expect.stringContaining("may have been done"),
  });
  expect(keyed).toMatchObject({ code: "draining" });
  expect(server.requests).toHaveLength(2);
});

test("a client has the head and each part of a stream as soon as the holder has sent it", async () => {
  const parts = Array.from({ length: 3 }, () => Promise.withResolvers<void>());
  const server = await holder((_incoming, outgoing) => {
    outgoing.writeHead(200, { "content-type": "text/event-stream" });
    outgoing.flushHeaders();
    for (const [index, { promise }] of parts.entries())
      void promise.then(() => outgoing.write(`data: ${index}\n\n`));
    void Promise.all(parts.map(({ promise }) => promise)).then(() => outgoing.end());
  });
  sendsTo(here, server);
  const answer = await send(here, "/v1/runs");
  expect(answer.headers.get("content-type")).toBe("text/event-stream");
  const reader = (answer.body as ReadableStream<Uint8Array>).getReader();
  for (const [index, part] of parts.entries()) {
    part.resolve();
    expect(Buffer.from((await reader.read()).value ?? []).toString()).toBe(`data: ${index}\n\n`);
  }
  expect((await reader.read()).done).toBe(true);
});

test("an answer that breaks off in the middle does not end as if it were whole", async () => {
  // It is said on stderr by the server that answers.
  const said = vi.spyOn(console, "error").mockImplementation(() => {});
  cleanups.push(async () => said.mockRestore());
  const server = await holder((_incoming, outgoing) => {
    outgoing.write('{"items":[', () => outgoing.destroy());
  });
  sendsTo(here, server);
  await expect(send(here, "/v1/runs").then((answer) => answer.text())).rejects.toThrow("terminated");
});

test("a request that was sent on goes no further: two hosts that name each other end in a 503", async () => {
  const there = await serve("host-2");
  sendsTo(here, there);
  sendsTo(there, here);
  const answer = await send(here, "/v1/agents/echo/runs", start());
  expect([answer.status, answer.headers.get("retry-after")]).toEqual([503, "1"]);
  expect(answer.headers.get("holdfast-not-here")).toBeNull();
  expect((await problem(answer)).code).toBe("tenant_unavailable");
  expect(here.host.arrivals).toEqual(times(quick.maxTries, "first"));
  expect(there.host.arrivals).toEqual(times(quick.maxTries, "forwarded"));
  expect(await outcomes(there)).toEqual({});
});

test("a host at whose address another one listens now is as good as gone, and nothing is done there", async () => {
  const there = await serve("host-9");
  sendsTo(here, { ...there, hostId: "host-2" });
  const answer = await send(here, "/v1/agents/echo/runs", start());
  expect([answer.status, (await problem(answer)).detail]).toEqual([
    503,
    expect.stringContaining("nothing was done"),
  ]);
  expect(there.host.arrivals).toEqual([]);
  expect(here.host.unreachable).toEqual(times(quick.maxTries, ["host-2", "refused"]));
  expect(await outcomes(here)).toEqual({ misdirected: quick.maxTries });
});

test("a host whose own address is another's gets its request back, and does not take it for one of a client's", async () => {
  sendsTo(here, { ...here, hostId: "host-2" });
  expect((await send(here, "/v1/runs")).status).toBe(503);
  expect(here.host.arrivals).toEqual(times(quick.maxTries, "first"));
});

test("what a program that is no host answers at the address of one that died is never a client's answer", async () => {
  const server = await holder((_incoming, outgoing) => {
    outgoing.removeHeader("holdfast-host");
    outgoing.end('{"items":[]}');
  });
  sendsTo(here, server, 1);
  const answer = await send(here, "/v1/tenant");
  expect(await answer.json()).toMatchObject({ host: "host-1" });
  sendsTo(here, server);
  const started = await send(here, "/v1/agents/echo/runs", start());
  expect([started.status, (await problem(started)).detail]).toEqual([
    503,
    expect.stringContaining("may have been done"),
  ]);
});

test.each([
  ["a bad token", "/v1/runs", { headers: { authorization: "Bearer x" } }, 401],
  ["a scope that is lacking", "/v1/wake", { method: "POST" }, 403],
  ["a run that is none", "/v1/runs/%00", {}, 404],
  ["a path that there is not", "/v2", {}, 404],
  ["a body that is no JSON", "/v1/agents/echo/runs", { method: "POST", body: "{" }, 400],
  ["a body that is another", "/v1/agents/echo/runs", { method: "POST", body: '{"x":1}' }, 422],
  ["the host's health", "/healthz", {}, 200],
])("the answer to %s names the host that gave it", async (_what, path, init, status) => {
  const answer = await send(here, path, init);
  expect([answer.status, answer.headers.get("holdfast-host")]).toEqual([status, "host-1"]);
});

test("a marker that a client makes up is worth nothing: its request goes where any other one goes", async () => {
  const there = await serve("host-2");
  here.host.refuse = (arrived) =>
    arrived === "first" ? new ElsewhereError("acme", there, "region") : undefined;
  const forged = [
    "x",
    "host-2;region",
    "host-2.region.host-1.AAAA",
    new Markers(["a-secret-that-no-host-has-of-32-bytes!"]).sign(markerOf("acme", "host-1")),
    new Markers([secret]).sign(markerOf("globex", "host-1")),
  ];
  for (const marker of forged) {
    const answer = await send(here, "/v1/runs", { headers: { "holdfast-forwarded": marker } });
    expect([answer.status, answer.headers.get("holdfast-host")], marker).toEqual([200, "host-2"]);
  }
  expect(here.host.arrivals).toEqual(times(forged.length, "first"));
});

test("what was sent on and broke off before its end was there is not done", async () => {
  const there = await serve("host-2");
  await there.host.runs("acme").start({ agent: "echo", input: 1 });
  there.host.runs("acme").change("run-000001", { status: "completed" });
  const marker = new Markers([secret]).sign(markerOf("acme", "host-2"));
  const socket = connect(Number(new URL(there.address).port), "127.0.0.1");
  socket.write(
    `DELETE /v1/runs/run-000001 HTTP/1.1\r\nhost: x\r\nauthorization: ${headers.authorization}\r\n` +
      `holdfast-forwarded: ${marker}\r\nexpect: 100-continue\r\ntransfer-encoding: chunked\r\n\r\n`,
  );
  const [said] = (await once(socket, "data")) as [Buffer];
  expect(said.toString()).toBe("HTTP/1.1 100 Continue\r\n\r\n");
  socket.destroy();
  await expect
    .poll(async () => (await there.metrics.httpRequests.get()).values.map(({ labels }) => labels.status))
    .toEqual(["400"]);
  expect(there.host.arrivals).toEqual([]);
  expect(await there.host.runs("acme").list({ limit: 9 })).toHaveLength(1);
});

test("a tenant that has moved meanwhile is looked for again, and the new holder is asked", async () => {
  const there = await serve("host-2");
  const third = await serve("host-3");
  there.host.refuse = () => new ElsewhereError("acme", third, "holder");
  here.host.refuse = (_arrived, asked) => new ElsewhereError("acme", asked === 1 ? there : third, "holder");
  const answer = await send(here, "/v1/agents/echo/runs", start());
  expect(answer.status).toBe(202);
  expect(third.host.runs("acme").started).toHaveLength(1);
  expect(here.host.unreachable).toEqual([["host-2", "silent"]]);
});

test("a holder that is stopping has done nothing, and the tenant is served here once it may be", async () => {
  const there = await serve("host-2");
  there.host.refusal = new DrainingError();
  sendsTo(here, there, 2);
  expect((await send(here, "/v1/agents/echo/runs", start())).status).toBe(202);
  expect(here.host.runs("acme").started).toHaveLength(1);
  expect(await outcomes(here)).toEqual({ "not-here": 2 });
});

test("what a holder answers of a tenant that it cannot open is the answer", async () => {
  const there = await serve("host-2");
  there.host.refusal = new TenantUnavailableError("the replica is missing", { retryAfterSeconds: 7 });
  sendsTo(here, there);
  const answer = await send(here, "/v1/runs");
  expect([answer.status, answer.headers.get("retry-after")]).toEqual([503, "7"]);
  expect((await problem(answer)).detail).toBe("the replica is missing");
  expect(here.host.arrivals).toEqual(["first"]);
});

test("a host at whose address nobody listens is told of, and the tenant taken as soon as it may be", async () => {
  sendsTo(here, holderAt(await refusingAddress()), 3);
  expect((await send(here, "/v1/agents/echo/runs", start())).status).toBe(202);
  expect(here.host.unreachable).toEqual(times(3, ["host-2", "refused"]));
});

test("a client is told at once when too many requests are under way to its tenant's host", async () => {
  const sender = await serve("host-3", {
    forwarder: new Forwarder(new LostHolders(here.host), undefined, 1),
  });
  const server = await holder(() => {});
  sendsTo(sender, server);
  const gone = new AbortController();
  const held = send(sender, "/v1/runs", { signal: gone.signal });
  await vi.waitFor(() => expect(server.requests).toHaveLength(1));
  const answer = await send(sender, "/v1/agents/echo/runs", start());
  expect([answer.status, answer.headers.get("retry-after")]).toEqual([503, "1"]);
  expect(await problem(answer)).toMatchObject({
    code: "overloaded",
    detail: expect.stringContaining("nothing was done"),
  });
  expect(sender.host.unreachable).toEqual([]);
  expect(await outcomes(sender)).toEqual({ crowded: 1 });
  gone.abort();
  await expect(held).rejects.toThrow("aborted");
});

test("a host that cannot be reached for long is a 503 that says that nothing was done", async () => {
  sendsTo(here, holderAt(await refusingAddress()));
  const answer = await send(here, "/v1/agents/echo/runs", start());
  expect([answer.status, answer.headers.get("retry-after")]).toEqual([503, "1"]);
  expect((await problem(answer)).detail).toContain("nothing was done");
  expect(await outcomes(here)).toEqual({ refused: quick.maxTries });
});

test.each([
  ["a start without a key", "/v1/agents/echo/runs", start()],
  ["a signal without a key", "/v1/runs/run-000001/signals/go", { method: "POST", body: "{}" }],
  ["a resume", "/v1/runs/run-000001/resume", { method: "POST" }],
  ["a retry", "/v1/runs/run-000001/retry", { method: "POST" }],
  ["a fork, which knows no keys", "/v1/runs/run-000001/fork", start({ "idempotency-key": "k" })],
  ["a deletion", "/v1/runs/run-000001", { method: "DELETE" }],
  ["a user's POST, whatever it makes of keys", "/app/x", start({ "idempotency-key": "k" })],
])("%s that broke off is not repeated, and the client is told", async (_what, path, init) => {
  const server = await holder((incoming) => incoming.socket.destroy());
  const sender = await serve("host-1", { routes: new Hono<AppEnv>() });
  sendsTo(sender, server);
  const body = path.endsWith("fork") ? { body: "{}" } : {};
  const answer = await send(sender, path, { ...init, ...body });
  expect([answer.status, answer.headers.get("retry-after")]).toEqual([503, "1"]);
  expect(await problem(answer)).toMatchObject({
    code: "tenant_unavailable",
    detail: expect.stringContaining("may have been done"),
  });
  expect(server.requests).toHaveLength(1);
  expect(sender.host.unreachable).toEqual([["host-2", "silent"]]);
});

test.each([
  ["a read", "/v1/runs", {}],
  ["a start with a key", "/v1/agents/echo/runs", start({ "idempotency-key": "k" })],
  ["a signal with a key", "/v1/runs/run-000001/signals/go", start({ "idempotency-key": "k" })],
  ["a cancellation", "/v1/runs/run-000001/cancel", { method: "POST" }],
  ["a pause", "/v1/runs/run-000001/pause", { method: "POST" }],
])("%s that broke off is sent once more, whole", async (what, path, init: RequestInit) => {
  const server = await holder((incoming, outgoing) => {
    if (server.requests.length === 1) incoming.socket.destroy();
    else outgoing.end("{}");
  });
  sendsTo(here, server);
  const body = what.startsWith("a signal") ? { body: '{"payload":1}' } : {};
  expect((await send(here, path, { ...init, ...body })).status).toBe(200);
  expect(server.requests).toHaveLength(2);
  expect(server.requests[1]?.body).toBe(server.requests[0]?.body);
});

test("a holder that is lost while it works is replaced: what may be repeated is done here", async () => {
  const server = await holder(() => {});
  sendsTo(here, server, 1);
  here.host.lost = async () => {};
  const answer = await send(here, "/v1/agents/echo/runs", start({ "idempotency-key": "k" }));
  expect(answer.status).toBe(202);
  expect(await outcomes(here)).toEqual({ lost: 1 });
  expect(here.host.unreachable).toEqual([["host-2", "silent"]]);
});

test("a holder that is lost before it has begun is replaced, however long that took, also for what must not be repeated", async () => {
  const sender = await serve("host-1", { search: { ...quick, withinMs: 500 } });
  const server = await serveSilence();
  cleanups.push(async () => server.close());
  sendsTo(sender, server, 1);
  sender.host.lost = async () => {};
  expect((await send(sender, "/v1/agents/echo/runs", start())).status).toBe(202);
  expect(await outcomes(sender)).toEqual({ gone: 1 });
});

test("a home region whose host cannot be reached is no reason to leave its tenant unserved", async () => {
  const away = new ElsewhereError("acme", holderAt(await refusingAddress()), "region");
  here.host.refuse = (arrived) => (arrived === "forwarded" ? undefined : away);
  expect((await send(here, "/v1/agents/echo/runs", start())).status).toBe(202);
  expect(here.host.arrivals).toEqual(["first", "forwarded"]);
});

test("a host that is stopping hands requests over to another one, which may send them on once", async () => {
  const there = await serve("host-2");
  const third = await serve("host-3");
  here.host.refusal = new DrainingError();
  here.host.another = there;
  expect((await send(here, "/v1/agents/echo/runs", start())).status).toBe(202);
  expect(there.host.arrivals).toEqual(["first"]);

  sendsTo(there, third);
  const answer = await send(here, "/v1/agents/echo/runs", start());
  expect([answer.status, answer.headers.get("holdfast-host")]).toEqual([202, "host-3"]);
  expect(third.host.arrivals).toEqual(["forwarded"]);

  there.host.refuse = () => new DrainingError();
  there.host.another = here;
  expect((await send(here, "/v1/runs")).status).toBe(503);
  expect(await outcomes(there)).toEqual({ answered: 1 });
});

test("a host that is stopping and knows of no other one says so", async () => {
  here.host.refusal = new DrainingError();
  expect(await problem(await send(here, "/v1/runs"))).toMatchObject({ code: "draining" });
  expect(here.host.arrivals).toEqual(["first"]);
});

test("a tenant's status comes from the host that has it", async () => {
  const there = await serve("host-2");
  sendsTo(here, there);
  expect(await (await send(here, "/v1/tenant")).json()).toMatchObject({ state: "open", host: "host-2" });
});

test("the status of a tenant whose host cannot be reached says so", async () => {
  sendsTo(here, holderAt(await refusingAddress()));
  const answer = await send(here, "/v1/tenant");
  expect([answer.status, await answer.json()]).toEqual([
    200,
    {
      id: "acme",
      state: "unavailable",
      reason: expect.stringContaining("cannot be reached"),
      epoch: null,
      host: "host-2",
      region: "fra",
      sizeBytes: null,
      restorePoint: null,
      runs: {},
      replication: expect.objectContaining({ state: "unknown" }),
    },
  ]);
});

test("the status that another host asks for is none while the tenant is not here", async () => {
  const server = await holder(() => {});
  sendsTo(here, server);
  const marker = new Markers([secret]).sign(markerOf("acme", "host-1"));
  const answer = await send(here, "/v1/tenant", { headers: { "holdfast-forwarded": marker } });
  expect([answer.status, answer.headers.get("holdfast-not-here")]).toEqual([503, "1"]);
});
