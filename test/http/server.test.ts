import { Agent, request, type IncomingMessage } from "node:http";
import { connect, type Socket } from "node:net";
import { once } from "node:events";
import { afterEach, beforeEach, expect, test } from "vitest";
import { createApp } from "../../app/http/app.ts";
import { createMetrics } from "../../app/http/metrics.ts";
import { serveApp, type RunningServer } from "../../app/http/server.ts";
import { pino } from "pino";
import { FakeHost } from "../fakes/host.ts";
import { bearer, secret } from "./client.ts";

let host: FakeHost;
let server: RunningServer;
let headers: { authorization: string };
const sockets: Socket[] = [];

beforeEach(async () => {
  host = new FakeHost();
  const log = pino({ level: "silent" });
  server = await serveApp(
    createApp({ host, routing: "proxy", tokenSecrets: [secret], metrics: createMetrics(), log }),
    0,
  );
  headers = await bearer({ tenant: "acme", scope: "runs:read runs:write" });
});

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
