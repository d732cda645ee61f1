import { join } from "node:path";
import { PreconditionFailedError } from "../../app/storage/object-store.ts";
import type { ObjectStore, PutCondition } from "../../app/storage/object-store.ts";
import { openStore } from "../../app/storage/open-store.ts";
import type { StoreSettings } from "../../app/storage/open-store.ts";
import { StoreLock } from "../../app/storage/store-lock.ts";

/** What a test asks of a process of its own; each message is answered by one WorkerAnswer. */
export type WorkerMessage =
  | { readonly do: "open"; readonly url: string; readonly settings: StoreSettings }
  | { readonly do: "put"; readonly key: string; readonly body: string; readonly condition: PutCondition }
  /** Replaces the object again and again, until killed; answers after the first time. */
  | { readonly do: "hammer"; readonly key: string; readonly bytes: number }
  /** Takes the lock of a store's folder and never lets go. */
  | { readonly do: "hold-lock"; readonly directory: string };

export type WorkerAnswer =
  | { readonly kind: "done"; readonly etag?: string }
  | { readonly kind: "refused" }
  | { readonly kind: "failed"; readonly why: string };

let store: ObjectStore | undefined;

process.on("message", (message: WorkerMessage) => {
  void answer(message).then((result) => process.send?.(result));
});
process.on("disconnect", () => process.exit(0));

async function answer(message: WorkerMessage): Promise<WorkerAnswer> {
  try {
    return { kind: "done", ...(await act(message)) };
  } catch (error) {
    if (error instanceof PreconditionFailedError) return { kind: "refused" };
    return { kind: "failed", why: error instanceof Error ? (error.stack ?? error.message) : String(error) };
  }
}

async function act(message: WorkerMessage): Promise<{ readonly etag?: string }> {
  if (message.do === "hold-lock") return holdLock(message.directory);
  if (message.do === "open") {
    store = openStore(message.url, message.settings);
    return {};
  }
  if (store === undefined) throw new Error("open comes first");
  if (message.do === "hammer") return hammer(store, message.key, message.bytes);
  return store.put(message.key, message.body, message.condition);
}

async function hammer(opened: ObjectStore, key: string, bytes: number): Promise<{ readonly etag: string }> {
  let etag = (await opened.get(key))?.etag;
  const replace = async (round: number): Promise<string> => {
    const body = String.fromCharCode(97 + (round % 26)).repeat(bytes);
    return (await opened.put(key, body, etag === undefined ? { ifNoneMatch: "*" } : { ifMatch: etag })).etag;
  };
  etag = await replace(0);
  void (async () => {
    for (let round = 1; round < 1_000_000; round++) etag = await replace(round);
  })();
  return { etag };
}

function holdLock(directory: string): Promise<{ readonly etag?: string }> {
  const lock = new StoreLock(join(directory, ".store", "lock.db"), 10_000);
  return new Promise((resolve, reject) => {
    const held = lock.hold(() => {
      resolve({});
      return new Promise<never>(() => {});
    });
    held.catch(reject);
  });
}
