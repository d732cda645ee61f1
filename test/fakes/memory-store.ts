import { PreconditionFailedError } from "../../app/storage/object-store.ts";
import type { ObjectStore, PutCondition, StoredObject } from "../../app/storage/object-store.ts";

/** A strongly consistent store in memory. An object's tag is its content, as S3's is a hash of it. */
export class MemoryStore implements ObjectStore {
  readonly description = "memory";
  readonly objects = new Map<string, string>();

  async get(key: string): Promise<StoredObject | undefined> {
    const etag = this.objects.get(key);
    return etag === undefined ? undefined : { body: Buffer.from(etag), etag };
  }

  async put(
    key: string,
    body: Uint8Array | string,
    condition?: PutCondition,
  ): Promise<{ readonly etag: string }> {
    const before = this.objects.get(key);
    if (condition?.ifNoneMatch !== undefined && before !== undefined) throw new PreconditionFailedError(key);
    if (condition?.ifMatch !== undefined && before !== condition.ifMatch)
      throw new PreconditionFailedError(key);
    const etag = typeof body === "string" ? body : Buffer.from(body).toString();
    this.objects.set(key, etag);
    return { etag };
  }

  async delete(key: string): Promise<void> {
    this.objects.delete(key);
  }

  async list(prefix: string): Promise<readonly string[]> {
    return [...this.objects.keys()].filter((key) => key.startsWith(prefix)).toSorted();
  }

  replicaUrl(path: string): string {
    return path;
  }
}
