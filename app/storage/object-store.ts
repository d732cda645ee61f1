/** An object with the tag that a conditional put compares. */
export interface StoredObject {
  readonly body: Uint8Array;
  readonly etag: string;
}

/** No store takes a larger object, whole, in one put. */
export const maxObjectBytes = 64 * 1024 * 1024;

/** A list that would be longer fails, so that a forgotten prefix cannot fill the memory. */
export const maxListedKeys = 1_000_000;

/** No condition means: overwrite. */
export type PutCondition =
  | { readonly ifMatch: string; readonly ifNoneMatch?: never }
  | { readonly ifNoneMatch: "*"; readonly ifMatch?: never };

/**
 * What Holdfast asks of a bucket. Keys are relative to the configured prefix, use "/" and never start with it.
 * Every call is bounded in time by the implementation. The store must be strongly consistent: a get or list sees every
 * put that was answered before it was sent.
 */
export interface ObjectStore {
  /** `undefined` if there is no such object. Throws StoreUnavailableError. */
  get(key: string): Promise<StoredObject | undefined>;
  /**
   * Throws PreconditionFailedError if the condition does not hold (an update of a missing object included), and
   * StoreUnavailableError when the answer is not known: the put may then have been applied, or be applied later.
   * Conditional puts are never repeated by the implementation. A tag is taken as it was given by this store; it is not
   * comparable with another's.
   */
  put(key: string, body: Uint8Array | string, condition?: PutCondition): Promise<{ readonly etag: string }>;
  /** Deleting what is not there succeeds. Throws StoreUnavailableError. */
  delete(key: string): Promise<void>;
  /** All keys that start with `prefix`, in ascending byte order; pages are followed. Throws StoreUnavailableError. */
  list(prefix: string): Promise<readonly string[]>;
  /** Where Litestream keeps the replica under `path`, as a URL that its `register` and `restore` take. */
  replicaUrl(path: string): string;
  /** The store as a person would name it, without credentials. */
  readonly description: string;
}

export class PreconditionFailedError extends Error {
  override readonly name = "PreconditionFailedError";
  readonly key: string;
  constructor(key: string) {
    super(`The object "${key}" was changed by someone else.`);
    this.key = key;
  }
}

export class StoreUnavailableError extends Error {
  override readonly name = "StoreUnavailableError";
}
