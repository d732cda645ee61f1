import type { ObjectStore, PutCondition, StoredObject } from "../../app/storage/object-store.ts";

/** What a store may do with a condition that it should heed. */
export type Unfitness =
  | "ignores-if-none-match"
  | "ignores-if-match"
  | "makes-missing-by-update"
  | "keeps-its-tag";

/** A store that takes conditional puts and does not heed them, as some services that speak S3 do. */
export class UnfitStore implements ObjectStore {
  readonly description: string;
  readonly #inner: ObjectStore;
  readonly #unfitness: Unfitness;

  constructor(inner: ObjectStore, unfitness: Unfitness) {
    this.#inner = inner;
    this.#unfitness = unfitness;
    this.description = `${inner.description} (${unfitness})`;
  }

  async get(key: string): Promise<StoredObject | undefined> {
    return this.#inner.get(key);
  }

  async put(
    key: string,
    body: Uint8Array | string,
    condition?: PutCondition,
  ): Promise<{ readonly etag: string }> {
    const answer = await this.#inner.put(key, body, await this.#heeded(key, condition));
    return this.#unfitness === "keeps-its-tag" ? { etag: "always the same" } : answer;
  }

  async delete(key: string): Promise<void> {
    return this.#inner.delete(key);
  }

  async list(prefix: string): Promise<readonly string[]> {
    return this.#inner.list(prefix);
  }

  replicaUrl(path: string): string {
    return this.#inner.replicaUrl(path);
  }

  async #heeded(key: string, condition: PutCondition | undefined): Promise<PutCondition | undefined> {
    if (this.#unfitness === "ignores-if-none-match" && condition?.ifNoneMatch !== undefined) return undefined;
    if (condition?.ifMatch === undefined) return condition;
    if (this.#unfitness === "ignores-if-match") return undefined;
    const heedless = this.#unfitness === "keeps-its-tag" || (await this.#inner.get(key)) === undefined;
    return heedless ? undefined : condition;
  }
}
