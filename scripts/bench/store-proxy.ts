import type { IncomingMessage } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { startRelay } from "../support/relay.ts";

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

/** Each request reaches the store on `targetPort` of this machine `delayMs` after it came; its answer goes back at once. */
export async function startStoreProxy(targetPort: number, delayMs: number): Promise<StoreProxy> {
  const counts = { put: 0, get: 0, list: 0, delete: 0 };
  const { port, close } = await startRelay({ targetPort }, async ({ incoming, send, passOn }) => {
    counts[kindOf(incoming)] += 1;
    await sleep(delayMs);
    await passOn(await send());
  });
  return {
    port,
    close,
    get counts() {
      return { ...counts };
    },
  };
}

function kindOf({ method, url = "" }: IncomingMessage): keyof RequestCounts {
  if (method === "DELETE") return "delete";
  if (method === "GET" && /[?&](list-type|prefix|delimiter)=/.test(url)) return "list";
  return method === "GET" || method === "HEAD" ? "get" : "put";
}
