import { randomUUID } from "node:crypto";
import { PreconditionFailedError, StoreUnavailableError } from "./object-store.ts";
import type { ObjectStore, PutCondition } from "./object-store.ts";
import { S3AnswerError } from "./s3-answer-error.ts";

/** Remembers that the bucket was found fit; removing it has the bucket probed again. */
export const probeMarker = "probes/passed.json";
const contenders = 8;

/** The store does not do what P2 rests on: two hosts could both believe that a tenant is theirs. */
export class UnfitStoreError extends Error {
  override readonly name = "UnfitStoreError";
  constructor(store: ObjectStore, lacks: string, options?: ErrorOptions) {
    super(
      `The store ${store.description} cannot keep tenants safe: ${lacks}. ` +
        "Stores that can: AWS S3, Tigris, Cloudflare R2, MinIO, versitygw, or a folder (file:DIR) for one machine.",
      options,
    );
  }
}

/**
 * Tries the conditional writes that claims and fences rest on, once for every bucket and prefix. It cannot prove that the
 * store is strongly consistent. Throws UnfitStoreError, or StoreUnavailableError if the store could not be tried.
 */
export async function probeStore(store: ObjectStore): Promise<void> {
  if ((await store.get(probeMarker)) !== undefined) return;
  const folder = `probes/${randomUUID()}`;
  const probe = new Probe(store);
  try {
    await probeOne(probe, `${folder}/one`, `${folder}/missing`);
    await probeMany(probe, `${folder}/many`);
  } finally {
    // What stays behind when the store fails meanwhile is a few bytes that nothing reads.
    await Promise.allSettled(["one", "missing", "many"].map((name) => store.delete(`${folder}/${name}`)));
  }
  await store.put(probeMarker, JSON.stringify({ passedAt: new Date().toISOString() }));
}

async function probeOne(probe: Probe, key: string, missing: string): Promise<void> {
  const first = await probe.put(key, "first", { ifNoneMatch: "*" });
  probe.require(first !== undefined, "a create (If-None-Match) of a new object was refused");
  await probe.requireContent(key, "first", "a read does not show what was just created");
  const again = await probe.put(key, "again", { ifNoneMatch: "*" });
  probe.require(again === undefined, "a create (If-None-Match) of an object that exists was not refused");
  await probe.requireContent(key, "first", "a create that was refused changed the object");
  const second = await probe.put(key, "second", { ifMatch: first });
  probe.require(second !== undefined, "an update (If-Match) with the current tag was refused");
  probe.require(second !== first, "an object kept its tag (ETag) when its content changed");
  await probe.requireContent(key, "second", "a read does not show what was just written");
  const stale = await probe.put(key, "stale", { ifMatch: first });
  probe.require(stale === undefined, "a stale update (If-Match) was not refused");
  await probe.requireContent(key, "second", "an update that was refused changed the object");
  const made = await probe.put(missing, "made", { ifMatch: second });
  probe.require(made === undefined, "an update (If-Match) of an object that does not exist made it");
}

async function probeMany(probe: Probe, key: string): Promise<void> {
  const created = await probe.contend(key, "creates (If-None-Match)", { ifNoneMatch: "*" });
  await probe.contend(key, "updates (If-Match)", { ifMatch: created });
}

class Probe {
  readonly #store: ObjectStore;

  constructor(store: ObjectStore) {
    this.#store = store;
  }

  /** The new tag, or `undefined` if the condition was refused. */
  async put(key: string, body: string, condition: PutCondition): Promise<string | undefined> {
    try {
      return (await this.#store.put(key, body, condition)).etag;
    } catch (error) {
      if (error instanceof PreconditionFailedError) return undefined;
      const knowsNoConditions =
        error instanceof StoreUnavailableError &&
        error.cause instanceof S3AnswerError &&
        error.cause.status === 501;
      if (knowsNoConditions)
        throw new UnfitStoreError(this.#store, "it knows no conditional writes", { cause: error });
      throw error;
    }
  }

  /** Sends several puts at once, of which exactly one may win; answers the winner's tag. */
  async contend(key: string, what: string, condition: PutCondition): Promise<string> {
    const bodies = Array.from({ length: contenders }, (_, index) => `${what} ${index}`);
    const answers = await Promise.allSettled(bodies.map((body) => this.put(key, body, condition)));
    const winners: { readonly body: string; readonly etag: string }[] = [];
    for (const [index, answer] of answers.entries()) {
      if (answer.status === "rejected") throw answer.reason;
      if (answer.value !== undefined) winners.push({ body: bodies[index] ?? "", etag: answer.value });
    }
    const [winner] = winners;
    const lacks = `of ${contenders} concurrent ${what} of one object ${winners.length} won`;
    this.require(winner !== undefined && winners.length === 1, lacks);
    await this.requireContent(key, winner.body, `${lacks}, but a read shows another`);
    return winner.etag;
  }

  async requireContent(key: string, expected: string, lacks: string): Promise<void> {
    const found = await this.#store.get(key);
    this.require(found !== undefined && Buffer.from(found.body).toString() === expected, lacks);
  }

  require(holds: boolean, lacks: string): asserts holds {
    if (!holds) throw new UnfitStoreError(this.#store, lacks);
  }
}
