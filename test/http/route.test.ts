import { Hono } from "hono";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Forwarder } from "../../app/http/forward.ts";
import { LostHolders } from "../../app/http/lost-holders.ts";
import type { AppEnv } from "../../app/http/user-env.ts";
import { DrainingError, ElsewhereError, TenantUnavailableError } from "../../app/storage/errors.ts";
import { bearer } from "./client.ts";
import { holderAt, refusingAddress, serveSilence, times } from "./holder-server.ts";
import { outcomes, problem, quick, sendsTo, ServedHosts, start, type Served } from "./served-hosts.ts";

let hosts: ServedHosts;
let here: Served;

beforeEach(async () => {
  hosts = await ServedHosts.open();
  here = await hosts.serve("host-1");
});
afterEach(() => hosts.close());

test("a request for a tenant of another host is answered by that one", async () => {
  const there = await hosts.serve("host-2");
  sendsTo(here, there);
  const started = await hosts.send(here, "/v1/agents/echo/runs", start({ "x-request-id": "request-1" }));
  expect([started.status, started.headers.get("x-request-id")]).toEqual([202, "request-1"]);
  expect(started.headers.get("location")).toBe("/v1/runs/run-000001");
  expect((await hosts.send(here, "/v1/runs/run-000001")).status).toBe(200);
  expect((await hosts.send(here, "/v1/runs/run-000009")).status).toBe(404);
  expect(await there.host.runs("acme").list({ limit: 9 })).toHaveLength(1);
  expect(here.host.tenants.size).toBe(0);
  expect(there.host.arrivals).toEqual(["forwarded", "forwarded", "forwarded"]);
  expect(await outcomes(here)).toEqual({ answered: 3 });
  expect(here.host.unreachable).toEqual([]);
});

test("the tenant that an operator names goes along, and so does who has asked", async () => {
  const server = await hosts.holder((_incoming, outgoing) => outgoing.end("{}"));
  sendsTo(here, server);
  hosts.headers = await bearer({ scope: "operator" });
  const extra = { "holdfast-tenant": "globex", "x-forwarded-for": "192.0.2.7", "x-forwarded-proto": "https" };
  await hosts.send(here, "/v1/runs?limit=3", { headers: extra });
  expect(server.requests[0]?.incoming.url).toBe("/v1/runs?limit=3");
  expect(server.requests[0]?.incoming.headers).toMatchObject({
    ...extra,
    authorization: hosts.headers.authorization,
    "holdfast-forwarded": expect.stringMatching(/^host-1\.holder\.host-2\.[\w-]{43}$/),
    "x-forwarded-for": expect.stringMatching(/^192\.0\.2\.7, .*127\.0\.0\.1$/),
  });
});

test("a bad token and a bad body are answered at once, wherever the tenant is", async () => {
  const server = await hosts.holder((_incoming, outgoing) => outgoing.end("{}"));
  sendsTo(here, server);
  expect((await hosts.send(here, "/v1/runs", { headers: { authorization: "Bearer x.y.z" } })).status).toBe(
    401,
  );
  expect((await hosts.send(here, "/v1/agents/echo/runs", { method: "POST", body: "{" })).status).toBe(400);
  expect(
    (await hosts.send(here, "/v1/runs", { headers: await bearer({ tenant: "acme", scope: "x" }) })).status,
  ).toBe(403);
  const large = { method: "POST", body: "x".repeat(1024 * 1024 + 1) };
  expect((await hosts.send(here, "/v1/agents/echo/runs", large)).status).toBe(413);
  expect((await hosts.send(here, "/app/x", large)).status).toBe(404);
  expect(server.requests).toEqual([]);
});

test("headers that have no room for what a host adds are refused, not taken for the silence of the next host", async () => {
  const there = await hosts.serve("host-2");
  sendsTo(here, there);
  const filled = (bytes: number) => ({ headers: { "x-filler": "x".repeat(bytes) } });
  expect((await hosts.send(here, "/v1/runs", filled(14_500))).status).toBe(200);
  const answer = await hosts.send(here, "/v1/runs", filled(15_900));
  expect([answer.status, (await problem(answer)).code]).toEqual([431, "headers_too_large"]);
  expect(here.host.unreachable).toEqual([]);
  expect(there.host.arrivals).toEqual(["forwarded"]);
});

test("what is no tenant's is answered where it arrives", async () => {
  const server = await hosts.holder((_incoming, outgoing) => outgoing.end("{}"));
  sendsTo(here, server);
  for (const path of ["/", "/healthz", "/readyz", "/metrics"])
    expect((await hosts.send(here, path)).status, path).toBe(200);
  expect(server.requests).toEqual([]);
});

test("a user's route is answered where the tenant is, and reads its body there or here", async () => {
  const routes = new Hono<AppEnv>().post("/echo", async (c) =>
    c.json({ got: await c.req.json(), tenant: c.var.tenant.id }),
  );
  const there = await hosts.serve("host-2", { routes });
  const sender = await hosts.serve("host-1", { routes });
  sendsTo(sender, there);
  const echo = { method: "POST", body: '{"a":1}' };
  expect(await (await hosts.send(sender, "/app/echo", echo)).json()).toEqual({
    got: { a: 1 },
    tenant: "acme",
  });
  expect(sender.host.arrivals).toEqual(["first"]);

  // The tenant is let go by that host while the request is on its way, and is claimed here.
  sendsTo(there, sender);
  sender.host.refuse = (_arrived, asked) =>
    asked <= 2 ? new ElsewhereError("acme", there, "holder") : undefined;
  expect(await (await hosts.send(sender, "/app/echo", echo)).json()).toEqual({
    got: { a: 1 },
    tenant: "acme",
  });
  expect(await outcomes(sender)).toEqual({ answered: 1, "not-here": 1 });
});

test("a long wait is passed on, and a client that leaves it leaves it everywhere", async () => {
  const there = await hosts.serve("host-2");
  sendsTo(here, there);
  const gone = new AbortController();
  const left = hosts.send(here, "/v1/agents/echo/runs?wait=60s", { ...start(), signal: gone.signal });
  await expect.poll(() => there.host.runs("acme").waiting).toBe(1);
  gone.abort();
  await expect(left).rejects.toThrow("aborted");
  await expect.poll(() => there.host.inUse).toBe(0);
  there.host.runs("acme").change("run-000001", { status: "completed" });
  expect(await outcomes(here)).toEqual({ abandoned: 1 });
});

test("a host stays while a request that it has sent on is answered", async () => {
  const server = await hosts.holder(() => {});
  sendsTo(here, server);
  const answering = hosts.send(here, "/v1/agents/echo/runs?wait=30s", start());
  await vi.waitFor(() => expect(server.requests).toHaveLength(1));
  expect([here.host.inUse, here.host.attended]).toEqual([0, 1]);
  await server.close();
  expect((await answering).status).toBe(503);
  expect(here.host.attended).toBe(0);
});

test("a host that closes answers what it has sent on: the truth without a key, to come again with one", async () => {
  const forwarder = new Forwarder(new LostHolders(here.host));
  const sender = await hosts.serve("host-3", { forwarder });
  const server = await hosts.holder(() => {});
  sendsTo(sender, server);
  const path = "/v1/agents/echo/runs?wait=30s";
  const answering = [start(), start({ "idempotency-key": "a" })].map((init) =>
    hosts.send(sender, path, init),
  );
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
  const server = await hosts.holder((_incoming, outgoing) => {
    outgoing.writeHead(200, { "content-type": "text/event-stream" });
    outgoing.flushHeaders();
    for (const [index, { promise }] of parts.entries())
      void promise.then(() => outgoing.write(`data: ${index}\n\n`));
    void Promise.all(parts.map(({ promise }) => promise)).then(() => outgoing.end());
  });
  sendsTo(here, server);
  const answer = await hosts.send(here, "/v1/runs");
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
  hosts.atEnd(async () => said.mockRestore());
  const server = await hosts.holder((_incoming, outgoing) => {
    outgoing.write('{"items":[', () => outgoing.destroy());
  });
  sendsTo(here, server);
  await expect(hosts.send(here, "/v1/runs").then((answer) => answer.text())).rejects.toThrow("terminated");
});

test("a tenant that has moved meanwhile is looked for again, and the new holder is asked", async () => {
  const there = await hosts.serve("host-2");
  const third = await hosts.serve("host-3");
  there.host.refuse = () => new ElsewhereError("acme", third, "holder");
  here.host.refuse = (_arrived, asked) => new ElsewhereError("acme", asked === 1 ? there : third, "holder");
  const answer = await hosts.send(here, "/v1/agents/echo/runs", start());
  expect(answer.status).toBe(202);
  expect(third.host.runs("acme").started).toHaveLength(1);
  expect(here.host.unreachable).toEqual([["host-2", "silent"]]);
});

test("a holder that is stopping has done nothing, and the tenant is served here once it may be", async () => {
  const there = await hosts.serve("host-2");
  there.host.refusal = new DrainingError();
  sendsTo(here, there, 2);
  expect((await hosts.send(here, "/v1/agents/echo/runs", start())).status).toBe(202);
  expect(here.host.runs("acme").started).toHaveLength(1);
  expect(await outcomes(here)).toEqual({ "not-here": 2 });
});

test("what a holder answers of a tenant that it cannot open is the answer", async () => {
  const there = await hosts.serve("host-2");
  there.host.refusal = new TenantUnavailableError("the replica is missing", { retryAfterSeconds: 7 });
  sendsTo(here, there);
  const answer = await hosts.send(here, "/v1/runs");
  expect([answer.status, answer.headers.get("retry-after")]).toEqual([503, "7"]);
  expect((await problem(answer)).detail).toBe("the replica is missing");
  expect(here.host.arrivals).toEqual(["first"]);
});

test("a host at whose address nobody listens is told of, and the tenant taken as soon as it may be", async () => {
  sendsTo(here, holderAt(await refusingAddress()), 3);
  expect((await hosts.send(here, "/v1/agents/echo/runs", start())).status).toBe(202);
  expect(here.host.unreachable).toEqual(times(3, ["host-2", "refused"]));
});

test("a client is told at once when too many requests are under way to its tenant's host", async () => {
  const sender = await hosts.serve("host-3", {
    forwarder: new Forwarder(new LostHolders(here.host), undefined, 1),
  });
  const server = await hosts.holder(() => {});
  sendsTo(sender, server);
  const gone = new AbortController();
  const held = hosts.send(sender, "/v1/runs", { signal: gone.signal });
  await vi.waitFor(() => expect(server.requests).toHaveLength(1));
  const answer = await hosts.send(sender, "/v1/agents/echo/runs", start());
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
  const answer = await hosts.send(here, "/v1/agents/echo/runs", start());
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
  const server = await hosts.holder((incoming) => incoming.socket.destroy());
  const sender = await hosts.serve("host-1", { routes: new Hono<AppEnv>() });
  sendsTo(sender, server);
  const body = path.endsWith("fork") ? { body: "{}" } : {};
  const answer = await hosts.send(sender, path, { ...init, ...body });
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
  const server = await hosts.holder((incoming, outgoing) => {
    if (server.requests.length === 1) incoming.socket.destroy();
    else outgoing.end("{}");
  });
  sendsTo(here, server);
  const body = what.startsWith("a signal") ? { body: '{"payload":1}' } : {};
  expect((await hosts.send(here, path, { ...init, ...body })).status).toBe(200);
  expect(server.requests).toHaveLength(2);
  expect(server.requests[1]?.body).toBe(server.requests[0]?.body);
});

test("what only hosts say of answers does not go on with a request, so that no echo of it is taken for the holder's", async () => {
  const server = await hosts.holder((incoming, outgoing) => {
    expect(
      Object.keys(incoming.headers).filter((name) => /^holdfast-(host|via|not-here)$/.test(name)),
    ).toEqual([]);
    outgoing.end("{}");
  });
  sendsTo(here, server);
  const made = { "holdfast-host": "host-2", "holdfast-via": "host-2", "holdfast-not-here": "1" };
  expect((await hosts.send(here, "/v1/runs", { headers: made })).status).toBe(200);
  expect(server.requests).toHaveLength(1);
});

test("a holder that is lost while it works is replaced: what may be repeated is done here", async () => {
  const server = await hosts.holder(() => {});
  sendsTo(here, server, 1);
  here.host.lost = async () => {};
  const answer = await hosts.send(here, "/v1/agents/echo/runs", start({ "idempotency-key": "k" }));
  expect(answer.status).toBe(202);
  expect(await outcomes(here)).toEqual({ lost: 1 });
  expect(here.host.unreachable).toEqual([["host-2", "silent"]]);
});

test("a holder that is lost before it has begun is replaced, however long that took, also for what must not be repeated", async () => {
  const sender = await hosts.serve("host-1", { search: { ...quick, withinMs: 500 } });
  const server = await serveSilence();
  hosts.atEnd(async () => server.close());
  sendsTo(sender, server, 1);
  sender.host.lost = async () => {};
  expect((await hosts.send(sender, "/v1/agents/echo/runs", start())).status).toBe(202);
  expect(await outcomes(sender)).toEqual({ gone: 1 });
});

test("a home region whose host cannot be reached is no reason to leave its tenant unserved", async () => {
  const away = new ElsewhereError("acme", holderAt(await refusingAddress()), "region");
  here.host.refuse = (arrived) => (arrived === "forwarded" ? undefined : away);
  expect((await hosts.send(here, "/v1/agents/echo/runs", start())).status).toBe(202);
  expect(here.host.arrivals).toEqual(["first", "forwarded"]);
});

test("a host that is stopping hands requests over to another one, which may send them on once", async () => {
  const there = await hosts.serve("host-2");
  const third = await hosts.serve("host-3");
  here.host.refusal = new DrainingError();
  here.host.another = there;
  expect((await hosts.send(here, "/v1/agents/echo/runs", start())).status).toBe(202);
  expect(there.host.arrivals).toEqual(["first"]);

  sendsTo(there, third);
  const answer = await hosts.send(here, "/v1/agents/echo/runs", start());
  expect([answer.status, answer.headers.get("holdfast-host")]).toEqual([202, "host-3"]);
  expect(third.host.arrivals).toEqual(["forwarded"]);

  there.host.refuse = () => new DrainingError();
  there.host.another = here;
  expect((await hosts.send(here, "/v1/runs")).status).toBe(503);
  expect(await outcomes(there)).toEqual({ answered: 1 });
});

test("a host that is stopping and knows of no other one says so", async () => {
  here.host.refusal = new DrainingError();
  expect(await problem(await hosts.send(here, "/v1/runs"))).toMatchObject({ code: "draining" });
  expect(here.host.arrivals).toEqual(["first"]);
});

test("a tenant's status comes from the host that has it", async () => {
  const there = await hosts.serve("host-2");
  sendsTo(here, there);
  expect(await (await hosts.send(here, "/v1/tenant")).json()).toMatchObject({
    state: "open",
    host: "host-2",
  });
});

test("the status of a tenant whose host cannot be reached says so", async () => {
  sendsTo(here, holderAt(await refusingAddress()));
  const answer = await hosts.send(here, "/v1/tenant");
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
