import { createServer, type Server } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { createAdaptorServer, type Http2Bindings, type HttpBindings } from "@hono/node-server";
import type { Hono } from "hono";
import type { HttpEnv } from "./request-context.ts";

export interface RunningServer {
  /** The one that was asked for, or the free one that 0 found. */
  readonly port: number;
  /** Accepts nothing more, and ends what is still open after `graceMs`. */
  close(graceMs: number): Promise<void>;
}

export interface ConnectionBounds {
  /** Beyond so many, requests are told that there are too many, and connections that are kept for nothing are closed. */
  readonly maxConnections: number;
  /** So many more are told it; what comes beyond is closed as it comes. */
  readonly spareConnections: number;
}

/**
 * Five times the 400 requests that fly.toml has Fly's proxy send at a time. A connection with a request that waits takes some
 * 20 kB and a descriptor, so all of them 40 MB.
 */
const defaultBounds: ConnectionBounds = { maxConnections: 2_000, spareConnections: 200 };

/** Listens on all addresses, IPv6 and IPv4. Rejects with an error that names the port if it cannot. */
export async function serveApp(
  app: Hono<HttpEnv>,
  port: number,
  bounds: ConnectionBounds = defaultBounds,
): Promise<RunningServer> {
  const crowded = new WeakSet<Socket>();
  const fetch = (request: Request, env: HttpBindings | Http2Bindings) =>
    app.fetch(request, { ...env, isCrowded: crowded.has(env.incoming.socket) });
  const server = createAdaptorServer({ fetch, createServer, serverOptions });
  if (!("closeIdleConnections" in server)) throw new Error("The server is not one of node:http");
  boundConnections(server, bounds, crowded);
  const address = await listen(server, port);
  return { port: address.port, close: (graceMs) => close(server, graceMs) };
}

/** Bytes of a request's path and headers. */
export const maxHeadBytes = 16 * 1024;

/** A client has so long to send its headers and its body; an answer may take longer, as `?wait` does. */
const serverOptions = {
  headersTimeout: 10_000,
  requestTimeout: 30_000,
  keepAliveTimeout: 75_000,
  connectionsCheckingInterval: 5_000,
  maxHeaderSize: maxHeadBytes,
};

/** Adds the connections that are too many to `crowded`. */
function boundConnections(
  server: Server,
  { maxConnections, spareConnections }: ConnectionBounds,
  crowded: WeakSet<Socket>,
): void {
  server.maxConnections = maxConnections + spareConnections;
  let open = 0;
  server.on("connection", (socket) => {
    open += 1;
    socket.once("close", () => (open -= 1));
    if (open > maxConnections) crowded.add(socket);
    if (open >= maxConnections) server.closeIdleConnections();
  });
}

async function listen(server: Server, port: number): Promise<AddressInfo> {
  try {
    return await listenOn(server, port, "::");
  } catch (error) {
    if (!isWithoutIpv6(error)) throw new Error(cannotListen(port, error), { cause: error });
  }
  try {
    return await listenOn(server, port, "0.0.0.0");
  } catch (error) {
    throw new Error(cannotListen(port, error), { cause: error });
  }
}

function listenOn(server: Server, port: number, host: string): Promise<AddressInfo> {
  const { promise, resolve, reject } = Promise.withResolvers<AddressInfo>();
  server.once("error", reject);
  server.listen({ port, host }, () => {
    server.off("error", reject);
    const address = server.address();
    if (address === null || typeof address === "string") reject(new Error("The server has no port"));
    else resolve(address);
  });
  return promise;
}

function isWithoutIpv6(error: unknown): boolean {
  return (
    error instanceof Error &&
    "code" in error &&
    (error.code === "EAFNOSUPPORT" || error.code === "EADDRNOTAVAIL")
  );
}

function cannotListen(port: number, error: unknown): string {
  return `Cannot listen on port ${port} (${error instanceof Error ? error.message : String(error)}). Set PORT to a free one.`;
}

async function close(server: Server, graceMs: number): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  // A connection whose answer was still under way would be kept for the next request, which never comes.
  const idle = setInterval(() => server.closeIdleConnections(), 50);
  const grace = setTimeout(() => server.closeAllConnections(), graceMs);
  try {
    await closed;
  } finally {
    clearInterval(idle);
    clearTimeout(grace);
  }
}
