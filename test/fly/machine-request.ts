import http, { type IncomingMessage, type OutgoingHttpHeaders } from "node:http";
import type { RequestBody } from "./request-body.ts";

export type Sent =
  /** No connection was made: nothing of the request is there. */
  | { readonly kind: "refused" }
  /** A connection was made, and then no answer came. */
  | { readonly kind: "broken"; readonly why: string }
  | { readonly kind: "answered"; readonly response: IncomingMessage };

export interface MachineRequest {
  readonly method: string;
  readonly path: string;
  readonly headers: OutgoingHttpHeaders;
  readonly body: RequestBody;
  /** The client has left. */
  readonly signal: AbortSignal;
}

/**
 * Sends one request to a Machine on a connection of its own. (Fly keeps connections for some 4 s; a kept one would hide
 * that the Machine behind it is gone.) The body starts once there is a connection. Never rejects.
 */
export function sendToMachine(url: string, request: MachineRequest): Promise<Sent> {
  const { method, path, headers, body, signal } = request;
  const { promise, resolve } = Promise.withResolvers<Sent>();
  // Told that the connection goes on, a server answers early without cutting the body off.
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  const outgoing = http.request(new URL(path, url), { method, headers, agent, signal });
  outgoing.on("close", () => agent.destroy());
  let isConnected = false;
  outgoing.on("socket", (socket) =>
    socket.once("connect", () => {
      isConnected = true;
      body.sendTo(outgoing);
    }),
  );
  outgoing.on("error", (error) => {
    body.detach();
    resolve(isConnected ? { kind: "broken", why: error.message } : { kind: "refused" });
  });
  outgoing.on("response", (response) => resolve({ kind: "answered", response }));
  return promise;
}

/** Headers that belong to one connection are not passed on. */
export function withoutConnection(headers: http.IncomingHttpHeaders): OutgoingHttpHeaders {
  const own = new Set(["connection", "keep-alive", "proxy-connection", "expect", "upgrade"]);
  return Object.fromEntries(Object.entries(headers).filter(([name]) => !own.has(name)));
}
