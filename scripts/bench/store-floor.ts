import { openStore } from "../../app/storage/open-store.ts";
import type { VersityGw } from "../support/versitygw.ts";

export interface StoreAccess {
  /** As in HOLDFAST_STORE. */
  readonly url: string;
  readonly credentials: { readonly accessKeyId: string; readonly secretAccessKey: string };
}

/** The server by the endpoint at which it is asked: its own, or a proxy's. */
export function accessTo(store: VersityGw, endpoint: string, prefix: string): StoreAccess {
  const url = new URL(store.storeUrl(prefix));
  url.searchParams.set("endpoint", endpoint);
  return { url: url.href, credentials: store.credentials };
}

const objectBytes = 1_024;

/** What a signed PUT of a small object and a GET of it after that take together, each time: no promise is kept for less. */
export async function putAndGetMs(access: StoreAccess, pairs: number): Promise<readonly number[]> {
  const store = openStore(access.url, { credentials: access.credentials, baseDir: "/" });
  const body = new Uint8Array(objectBytes);
  const tookMs: number[] = [];
  for (let i = 0; i <= pairs; i += 1) {
    const begunAt = performance.now();
    await store.put(`floor/${i}`, body);
    await store.get(`floor/${i}`);
    // The first one makes the connection.
    if (i > 0) tookMs.push(performance.now() - begunAt);
  }
  return tookMs;
}
