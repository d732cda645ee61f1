import { Agent, request, type IncomingMessage } from "node:http";
import { connect, Socket } from "node:net";
import { once } from "node:events";
import { afterEach, beforeEach, expect, test } from "vitest";
import { createApp } from "../../app/http/app.ts";
import { createMetrics } from "../../app/http/metrics.ts";
import { serveApp, type ConnectionBounds, type RunningServer } from "../../app/http/server.ts";
import { pino } from "pino";
import { FakeHost } from "../fakes/host.ts";
import { bearer, secret } from "./client.ts";

let host: FakeHost;
let server: RunningServer;
let headers: { authorization: string };
const sockets: Socket[] = [];

beforeEach(async () => {
  host = new FakeHost();
  server = await serve();
  headers = await bearer({ tenant: "acme", scope: "runs:read runs:write" });
});

function serve(bounds?: ConnectionBounds): Promise<RunningServer> {
  const log = pino({ level: "silent" });
  const app = createApp({ host, routing: "proxy", tokenSecrets: [secret], metrics: createMetrics(), log });
  return serveApp(app, 0, bounds);
}

afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  await server.close(0);
});

test.each(["127.0.0.1", "[::1]"])("it answers on %s", async (address) => {
  const answer = await fetch(`http://${address}:${server.port}/healthz`);
  expect(await answer.json()).toEqual({ status: "ok", host: "host-1" });
});

test("a port in use is an error that names it", async () => {
  const app = createApp({
    host,
    routing: "proxy",
    tokenSecrets: [secret],
    metrics: createMetrics(),
    log: pino({ level: "silent" }),
  });
  await expect(serveApp(app, server.port)).rejects.toThrow(`Cannot listen on port ${server.port}`);
});

test("a chunked body over 1 MiB is refused with 413 although it tells no length", async () => {
  const answer = await post({
    chunks: 100,
    chunkBytes: 256 * 1024,
    headers: { "transfer-encoding": "chunked" },
  });
  expect(answer.statusCode).toBe(413);
});

test("a declared body over 1 MiB is refused with 413 without being read", async () => {
  const answer = await post({
    chunks: 1,
    chunkBytes: 1024,
    headers: { "content-length": String(50 * 1024 * 1024) },
  });
  expect(answer.statusCode).toBe(413);
});

test("a client that goes away while it waits lets the tenant go", async () => {
  const gone = new AbortController();
  const answering = fetch(`http://127.0.0.1:${server.port}/v1/agents/echo/runs?wait=60s`, {
    method: "POST",
    headers,
    body: JSON.stringify({ input: 1 }),
    signal: gone.signal,
  });
  answering.catch(() => {});
  await expect.poll(() => host.runs("acme").waiting, { timeout: 10_000 }).toBe(1);
  gone.abort();
  await expect.poll(() => host.inUse, { timeout: 10_000 }).toBe(0);
  host.runs("acme").change("run-000001", { status: "completed" });
});

test("closing ends idle connections at once and lets an answer under way finish", async () => {
  const idle = connect(server.port, "127.0.0.1");
  sockets.push(idle);
  idle.write("GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n");
  await once(idle, "data");
  const durable = Promise.withResolvers<void>();
  host.durable = () => durable.promise;
  const agent = new Agent({ keepAlive: true });
  const answering = get("/v1/runs", agent);
  await expect.poll(() => host.inUse, { timeout: 10_000 }).toBe(1);

  const idleEnded = once(idle, "close");
  idle.resume();
  const closing = server.close(30_000);
  await idleEnded;
  await expect(fetch(`http://127.0.0.1:${server.port}/healthz`)).rejects.toThrow("fetch failed");
  durable.resolve();
  expect((await answering).statusCode).toBe(200);
  await closing;
  agent.destroy();
});

test("closing ends what does not finish within the grace", async () => {
  host.durable = () => new Promise(() => {});
  const answering = get("/v1/runs");
  answering.catch(() => {});
  await expect.poll(() => host.inUse, { timeout: 10_000 }).toBe(1);
  await server.close(50);
  await expect(answering).rejects.toThrow("socket hang up");
});

async function get(path: string, agent?: Agent): Promise<IncomingMessage> {
  const sent = request({ port: server.port, path, headers, ...(agent === undefined ? {} : { agent }) });
  sent.end();
  const [answer] = (await once(sent, "response")) as [IncomingMessage];
  answer.resume();
  await once(answer, "end");
  return answer;
}

test("a connection beyond the bound is told so, except about the host's life, and there is room again when one ends", async () => {
  await server.close(0);
  server = await serve({ maxConnections: 2, spareConnections: 1 });
  const durable = Promise.withResolvers<void>();
  host.durable = () => durable.promise;
  const held = [get("/v1/runs"), get("/v1/runs")];
  await expect.poll(() => host.inUse, { timeout: 10_000 }).toBe(2);

  const crowded = await fetch(`http://127.0.0.1:${server.port}/v1/runs`, { headers });
  expect([crowded.status, crowded.headers.get("retry-after"), crowded.headers.get("connection")]).toEqual([
    503,
    "1",
    "close",
  ]);
  expect(await crowded.json()).toMatchObject({ code: "overloaded" });
  expect((await get("/healthz")).statusCode).toBe(200);
  expect(host.inUse).toBe(2);

  durable.resolve();
  for (const answer of await Promise.all(held)) expect(answer.statusCode).toBe(200);
  expect((await get("/v1/runs")).statusCode).toBe(200);
});

test("what comes beyond those that can be told is not accepted at all", async () => {
  await server.close(0);
  server = await serve({ maxConnections: 1, spareConnections: 1 });
  for (let count = 0; count < 2; count += 1) {
    const socket = connect(server.port, "127.0.0.1");
    sockets.push(socket);
    socket.on("error", () => {});
    await once(socket, "connect");
  }
  await expect(get("/healthz")).rejects.toThrow(/ECONNRESET|socket hang up/);
});

test("connections that are kept for nothing make room as soon as the last place is taken", async () => {
  await server.close(0);
  server = await serve({ maxConnections: 2, spareConnections: 0 });
  const agent = new Agent({ keepAlive: true });
  expect((await get("/healthz", agent)).statusCode).toBe(200);
  const [kept] = Object.values(agent.freeSockets).flatMap((free) => free ?? []);
  const closed = once(kept ?? new Socket(), "close");
  const durable = Promise.withResolvers<void>();
  host.durable = () => durable.promise;
  const held = get("/v1/runs");
  await closed;
  expect((await get("/healthz")).statusCode).toBe(200);
  durable.resolve();
  expect((await held).statusCode).toBe(200);
  agent.destroy();
});

/** Sends a body that may be refused while it is still being sent, and does not mind when the connection breaks after that. */
async function post(body: {
  chunks: number;
  chunkBytes: number;
  headers: Record<string, string>;
}): Promise<IncomingMessage> {
  const path = "/v1/agents/echo/runs";
  const sent = request({ port: server.port, path, method: "POST", headers: { ...headers, ...body.headers } });
  const answer = once(sent, "response") as Promise<[IncomingMessage]>;
  for (let chunk = 0; chunk < body.chunks; chunk += 1) sent.write("x".repeat(body.chunkBytes));
  const [response] = await answer;
  sent.on("error", () => {});
  response.resume();
  sent.destroy();
  return response;
}
