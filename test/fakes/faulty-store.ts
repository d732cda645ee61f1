import type { ObjectStore, PutCondition, StoredObject } from "../../app/storage/object-store.ts";
import { PreconditionFailedError, StoreUnavailableError } from "../../app/storage/object-store.ts";

export type StoreVerb = "get" | "put" | "delete" | "list";

/**
 * What may become of a call on its way. `lost`: never made. `unanswered`: made, but the caller is told that it is not
 * known. `late`: the caller is told that, and it is made when the test says so. `doubled`: made twice, and the second
 * answer is what comes back. Reads can only be lost.
 */
export type StoreFault = "lost" | "unanswered" | "late" | "doubled";

export interface StoreCall {
  readonly verb: StoreVerb;
  readonly key: string;
}

/** A call that waits until the test lets it through. */
export interface HeldCall {
  /** Resolves when a call has arrived; it has not been made yet. */
  readonly arrived: Promise<void>;
  letThrough(): void;
}

/** How often each fault strikes, of 1; what is not named never does. */
export type FaultRates = Readonly<Partial<Record<StoreFault, number>>>;

interface Plan extends StoreCall {
  readonly strike: StoreFault | { readonly arrived: () => void; readonly gate: Promise<void> };
}

/** A store between which and its caller things go wrong: as planned, or at random from a seed. */
export class FaultyStore implements ObjectStore {
  readonly description: string;
  /** Every call, in the order in which they came in. */
  readonly calls: StoreCall[] = [];
  /** While true nothing gets through. */
  down = false;
  readonly #inner: ObjectStore;
  readonly #plans: Plan[] = [];
  #late: (() => Promise<unknown>)[] = [];
  #draw: () => StoreFault | undefined = () => undefined;

  constructor(inner: ObjectStore) {
    this.#inner = inner;
    this.description = `${inner.description} (faulty)`;
  }

  /** Strikes the next call of the kind to a key that starts with `prefix`. */
  fail(verb: StoreVerb, prefix: string, fault: StoreFault): void {
    this.#plans.push({ verb, key: prefix, strike: fault });
  }

  /** Holds the next call of the kind to a key that starts with `prefix`. */
  hold(verb: StoreVerb, prefix: string): HeldCall {
    const arrived = Promise.withResolvers<void>();
    const gate = Promise.withResolvers<void>();
    this.#plans.push({
      verb,
      key: prefix,
      strike: { arrived: arrived.resolve, gate: gate.promise },
    });
    return { arrived: arrived.promise, letThrough: gate.resolve };
  }

  /** From now on faults strike at random; without rates they end. */
  atRandom(seed: number, rates: FaultRates): void {
    const random = randomFrom(seed);
    this.#draw = () => {
      let left = random();
      for (const [fault, rate] of Object.entries(rates)) {
        if (left < rate) return fault as StoreFault;
        left -= rate;
      }
      return undefined;
    };
  }

  /** Makes the calls that were late; what they come to is nobody's business any more. */
  async deliverLate(): Promise<void> {
    const late = this.#late;
    this.#late = [];
    for (const make of late) await make().catch(ignoreRefusal);
  }

  count(verb: StoreVerb, prefix: string): number {
    return this.calls.filter((call) => call.verb === verb && call.key.startsWith(prefix)).length;
  }

  get(key: string): Promise<StoredObject | undefined> {
    return this.#read("get", key, () => this.#inner.get(key));
  }

  list(prefix: string): Promise<readonly string[]> {
    return this.#read("list", prefix, () => this.#inner.list(prefix));
  }

  put(key: string, body: Uint8Array | string, condition?: PutCondition): Promise<{ readonly etag: string }> {
    return this.#change("put", key, () => this.#inner.put(key, body, condition));
  }

  delete(key: string): Promise<void> {
    return this.#change("delete", key, () => this.#inner.delete(key));
  }

  replicaUrl(path: string): string {
    return this.#inner.replicaUrl(path);
  }

  async #read<T>(verb: StoreVerb, key: string, make: () => Promise<T>): Promise<T> {
    if ((await this.#meet(verb, key)) !== undefined) throw unknownAnswer(verb, key);
    return await make();
  }

  async #change<T>(verb: StoreVerb, key: string, make: () => Promise<T>): Promise<T> {
    const fault = await this.#meet(verb, key);
    if (fault === undefined) return await make();
    if (fault === "doubled") {
      await make().catch(ignoreRefusal);
      return await make();
    }
    if (fault === "unanswered") await make().catch(ignoreRefusal);
    if (fault === "late") this.#late.push(make);
    throw unknownAnswer(verb, key);
  }

  async #meet(verb: StoreVerb, key: string): Promise<StoreFault | undefined> {
    this.calls.push({ verb, key });
    const index = this.#plans.findIndex((plan) => plan.verb === verb && key.startsWith(plan.key));
    const [plan] = index === -1 ? [] : this.#plans.splice(index, 1);
    if (typeof plan?.strike === "object") {
      plan.strike.arrived();
      await plan.strike.gate;
    }
    if (this.down) return "lost";
    return typeof plan?.strike === "string" ? plan.strike : this.#draw();
  }
}

/** A number from 0 to 1 at each call, the same sequence for the same seed (mulberry32). */
export function randomFrom(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

function unknownAnswer(verb: StoreVerb, key: string): StoreUnavailableError {
  return new StoreUnavailableError(`It is not known what became of ${verb} "${key}".`);
}

function ignoreRefusal(error: unknown): void {
  if (!(error instanceof PreconditionFailedError)) throw error;
}
