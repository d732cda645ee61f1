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

/** A request that was answered, as the client has met it; times as of `performance.now()`. */
export interface AnsweredRequest {
  readonly kind: keyof RequestCounts;
  /** The object's path, after the bucket's name. */
  readonly key: string;
  readonly sentAt: number;
  readonly answeredAt: number;
}

/** Each request reaches the store on `targetPort` of this machine `delayMs` after it came; its answer goes back at once. */
export async function startStoreProxy(
  targetPort: number,
  delayMs: number,
  onAnswered: (request: AnsweredRequest) => void = () => {},
): Promise<StoreProxy> {
  const counts = { put: 0, get: 0, list: 0, delete: 0 };
  const { port, close } = await startRelay({ targetPort }, async ({ incoming, send, passOn }) => {
    const [kind, sentAt] = [kindOf(incoming), performance.now()];
    counts[kind] += 1;
    await sleep(delayMs);
    await passOn(await send());
    onAnswered({ kind, key: keyOf(incoming), sentAt, answeredAt: performance.now() });
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

function keyOf({ url = "" }: IncomingMessage): string {
  const [path = ""] = url.split("?");
  return path.split("/").slice(2).join("/");
}
