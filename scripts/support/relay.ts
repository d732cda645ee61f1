import http, { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { pipeline } from "node:stream/promises";

/** A request between its client and the server that it is for. */
export interface RelayedRequest {
  readonly incoming: IncomingMessage;
  readonly answer: ServerResponse;
  /**
   * Sends it on as it is, with the body as it comes or the one that is given. Resolves when the server's answer begins;
   * rejects if none does.
   */
  readonly send: (body?: Buffer) => Promise<IncomingMessage>;
  /** Sends the server's answer on as it is. Never rejects: what breaks off is broken off for the client. */
  readonly passOn: (response: IncomingMessage) => Promise<void>;
}

export interface Relay {
  readonly port: number;
  /** Listens no more, and ends every connection at once. */
  readonly close: () => Promise<void>;
}

const maxConnections = 256;
/** Shorter than any server keeps an idle connection: one that is just being closed would look like a fault. */
const idleMs = 1_000;

/**
 * Stands before the HTTP server on `targetPort` of this machine: `take` decides what becomes of each request, and one that
 * it rejects for is broken off. `port` 0 is any free one.
 */
export async function startRelay(
  { targetPort, port = 0 }: { readonly targetPort: number; readonly port?: number },
  take: (request: RelayedRequest) => Promise<void>,
): Promise<Relay> {
  const agent = new http.Agent({ keepAlive: true, maxSockets: maxConnections, timeout: idleMs });
  const server = createServer((incoming, answer) => {
    const send = (body?: Buffer): Promise<IncomingMessage> => sendOn(incoming, { targetPort, agent, body });
    const passOn = (response: IncomingMessage): Promise<void> => passBack(response, answer);
    take({ incoming, answer, send, passOn }).catch(() => answer.destroy());
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, "127.0.0.1", resolve);
  });
  return {
    port: (server.address() as AddressInfo).port,
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
      agent.destroy();
    },
  };
}

/** Headers go on as they are: a signature covers the host's name among them. */
function sendOn(
  incoming: IncomingMessage,
  to: { readonly targetPort: number; readonly agent: http.Agent; readonly body: Buffer | undefined },
): Promise<IncomingMessage> {
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
  const { method, url: path, headers } = incoming;
  const { targetPort: port, agent, body } = to;
  const outgoing = http.request({ host: "127.0.0.1", port, method, path, headers, agent });
  outgoing.on("error", reject);
  outgoing.on("response", resolve);
  if (body === undefined) incoming.on("error", (error) => outgoing.destroy(error)).pipe(outgoing);
  else outgoing.end(body);
  return promise;
}

async function passBack(response: IncomingMessage, answer: ServerResponse): Promise<void> {
  answer.writeHead(response.statusCode ?? 502, response.rawHeaders);
  await pipeline(response, answer).catch(() => answer.destroy());
}
