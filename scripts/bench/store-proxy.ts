import http, { createServer, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

/** Requests by what a store asks money for; a DELETE costs nothing. */
export interface RequestCounts {
  readonly put: number;
  readonly get: number;
  readonly list: number;
  readonly delete: number;
}

/** Stands before the store and makes it as far away as a real one. */
export interface StoreProxy {
  readonly port: number;
  /** Requests since the proxy began. */
  readonly counts: RequestCounts;
  close(): Promise<void>;
}

const maxConnections = 256;

/** Each request reaches the store on `targetPort` of this machine `delayMs` after it came; its answer goes back at once. */
export async function startStoreProxy(targetPort: number, delayMs: number): Promise<StoreProxy> {
  const counts = { put: 0, get: 0, list: 0, delete: 0 };
  const agent = new http.Agent({ keepAlive: true, maxSockets: maxConnections });
  const server = createServer((incoming, answer) => {
    counts[kindOf(incoming)] += 1;
    const forward = async (): Promise<void> => {
      await sleep(delayMs);
      // Headers go on as they are: the signature covers the host's name among them.
      const { method, url: path, headers } = incoming;
      const outgoing = http.request({ host: "127.0.0.1", port: targetPort, method, path, headers, agent });
      outgoing.on("error", (error) => answer.destroy(error));
      outgoing.on("response", (response) => {
        answer.writeHead(response.statusCode ?? 502, response.rawHeaders);
        response.on("error", (error) => answer.destroy(error));
        response.pipe(answer);
      });
      incoming.pipe(outgoing);
    };
    void forward();
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(0, "127.0.0.1", resolve);
  });
  return {
    port: (server.address() as AddressInfo).port,
    get counts() {
      return { ...counts };
    },
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
      agent.destroy();
    },
  };
}

function kindOf({ method, url = "" }: IncomingMessage): keyof RequestCounts {
  if (method === "DELETE") return "delete";
  if (method === "GET" && /[?&](list-type|prefix|delimiter)=/.test(url)) return "list";
  return method === "GET" || method === "HEAD" ? "get" : "put";
}
