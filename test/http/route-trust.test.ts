import { once } from "node:events";
import { connect } from "node:net";
import { afterEach, beforeEach, expect, test } from "vitest";
import { Markers, type Marker } from "../../app/http/marker.ts";
import { ElsewhereError } from "../../app/storage/errors.ts";
import { answeredStatuses, secret } from "./client.ts";
import { times } from "./holder-server.ts";
import { outcomes, problem, quick, sendsTo, ServedHosts, start, type Served } from "./served-hosts.ts";

let hosts: ServedHosts;
let here: Served;

beforeEach(async () => {
  hosts = await ServedHosts.open();
  here = await hosts.serve("host-1");
});
afterEach(() => hosts.close());

/** A marker of host-9's. */
function markerOf(tenantId: string, to: string): Marker {
  return { tenantId, from: "host-9", errand: "region", to };
}

test("a request that was sent on goes no further: two hosts that name each other end in a 503", async () => {
  const there = await hosts.serve("host-2");
  sendsTo(here, there);
  sendsTo(there, here);
  const answer = await hosts.send(here, "/v1/agents/echo/runs", start());
  expect([answer.status, answer.headers.get("retry-after")]).toEqual([503, "1"]);
  expect(answer.headers.get("holdfast-not-here")).toBeNull();
  expect((await problem(answer)).code).toBe("tenant_unavailable");
  expect(here.host.arrivals).toEqual(times(quick.maxTries, "first"));
  expect(there.host.arrivals).toEqual(times(quick.maxTries, "forwarded"));
  expect(await outcomes(there)).toEqual({});
});

test("a host at whose address another one listens now is as good as gone, and nothing is done there", async () => {
  const there = await hosts.serve("host-9");
  sendsTo(here, { ...there, hostId: "host-2" });
  const answer = await hosts.send(here, "/v1/agents/echo/runs", start());
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
  expect((await hosts.send(here, "/v1/runs")).status).toBe(503);
  expect(here.host.arrivals).toEqual(times(quick.maxTries, "first"));
});

test("what a program that is no host answers at the address of one that died is never a client's answer", async () => {
  const server = await hosts.holder((_incoming, outgoing) => {
    outgoing.removeHeader("holdfast-host");
    outgoing.end('{"items":[]}');
  });
  sendsTo(here, server, 1);
  const answer = await hosts.send(here, "/v1/tenant");
  expect(await answer.json()).toMatchObject({ host: "host-1" });
  sendsTo(here, server);
  const started = await hosts.send(here, "/v1/agents/echo/runs", start());
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
  const answer = await hosts.send(here, path, init);
  expect([answer.status, answer.headers.get("holdfast-host")]).toEqual([status, "host-1"]);
});

test("a marker that a client makes up is worth nothing: its request goes where any other one goes", async () => {
  const there = await hosts.serve("host-2");
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
    const answer = await hosts.send(here, "/v1/runs", { headers: { "holdfast-forwarded": marker } });
    expect([answer.status, answer.headers.get("holdfast-host")], marker).toEqual([200, "host-2"]);
  }
  expect(here.host.arrivals).toEqual(times(forged.length, "first"));
});

test("what was sent on and broke off before its end was there is not done", async () => {
  const there = await hosts.serve("host-2");
  await there.host.runs("acme").start({ agent: "echo", input: 1 });
  there.host.runs("acme").change("run-000001", { status: "completed" });
  const marker = new Markers([secret]).sign(markerOf("acme", "host-2"));
  const socket = connect(Number(new URL(there.address).port), "127.0.0.1");
  socket.write(
    `DELETE /v1/runs/run-000001 HTTP/1.1\r\nhost: x\r\nauthorization: ${hosts.headers.authorization}\r\n` +
      `holdfast-forwarded: ${marker}\r\nexpect: 100-continue\r\ntransfer-encoding: chunked\r\n\r\n`,
  );
  const [said] = (await once(socket, "data")) as [Buffer];
  expect(said.toString()).toBe("HTTP/1.1 100 Continue\r\n\r\n");
  socket.destroy();
  await expect.poll(() => answeredStatuses(there.metrics)).toEqual({ 400: 1 });
  expect(there.host.arrivals).toEqual([]);
  expect(await there.host.runs("acme").list({ limit: 9 })).toHaveLength(1);
});

test("the status that another host asks for is none while the tenant is not here", async () => {
  const server = await hosts.holder(() => {});
  sendsTo(here, server);
  const marker = new Markers([secret]).sign(markerOf("acme", "host-1"));
  const answer = await hosts.send(here, "/v1/tenant", { headers: { "holdfast-forwarded": marker } });
  expect([answer.status, answer.headers.get("holdfast-not-here")]).toEqual([503, "1"]);
});
