import { StoreUnavailableError } from "../../app/storage/object-store.ts";
import type { ObjectStore, PutCondition, StoredObject } from "../../app/storage/object-store.ts";
import type { Random } from "../crash/drill/random.ts";
import type { MemoryStore } from "../fakes/memory-store.ts";
import type { Actor, Schedule } from "./schedule.ts";

/** How often each fault strikes a request, of 1. */
export interface NetworkFaults {
  /** Never made. */
  lost: number;
  /** Made, and the answer is lost. */
  unanswered: number;
  /** Given up by who made it, and made later, or never. */
  late: number;
  /** Made, and once more at some later time. */
  doubled: number;
  /** Made twice, and the second answer is what comes back. */
  repeated: number;
  /** A long time on its way, or on its way back. */
  slow: number;
}

export const noFaults: NetworkFaults = { lost: 0, unanswered: 0, late: 0, doubled: 0, repeated: 0, slow: 0 };

type Fault = Exclude<keyof NetworkFaults, "slow">;
const faultsInOrder: readonly Fault[] = ["lost", "unanswered", "late", "doubled", "repeated"];
/** There are few creates, and a late one is dangerous in its own way: it finds nothing, and so is not refused. */
const createsDoubledMore = 6;
/** Requests that somebody has given up may still be made, after so many of the schedule's milliseconds at most. */
const maxLateMs = 600;
const maxSlowMs = 300;

/** A process's way to the store: each request travels, is made at one moment, and its answer travels back. */
export class Network implements ObjectStore {
  readonly description = "the model's store";
  readonly #store: MemoryStore;
  readonly #actor: Actor;
  readonly #schedule: Schedule;
  readonly #random: Random;
  readonly #faults: NetworkFaults;

  constructor(
    store: MemoryStore,
    actor: Actor,
    {
      schedule,
      random,
      faults,
    }: { readonly schedule: Schedule; readonly random: Random; readonly faults: NetworkFaults },
  ) {
    this.#store = store;
    this.#actor = actor;
    this.#schedule = schedule;
    this.#random = random;
    this.#faults = faults;
  }

  get(key: string): Promise<StoredObject | undefined> {
    return this.#request(`get ${key}`, () => this.#store.get(key), "read");
  }

  list(prefix: string): Promise<readonly string[]> {
    return this.#request(`list ${prefix}`, () => this.#store.list(prefix), "read");
  }

  put(key: string, body: Uint8Array | string, condition?: PutCondition): Promise<{ readonly etag: string }> {
    if (key.includes("/snapshots/")) return this.#putAtOnce(key, body);
    const kind = condition?.ifNoneMatch === undefined ? "change" : "create";
    return this.#request(`put ${key}`, () => this.#store.put(key, body, condition), kind);
  }

  delete(key: string): Promise<void> {
    return this.#request(`delete ${key}`, () => this.#store.delete(key), "change");
  }

  replicaUrl(path: string): string {
    return path;
  }

  /** See `FilesPackedAtOnce`. */
  async #putAtOnce(key: string, body: Uint8Array | string): Promise<{ readonly etag: string }> {
    const fault = this.#draw(false);
    if (fault !== "lost") await this.#store.put(key, body);
    if (fault !== null) throw new StoreUnavailableError(`It is not known what became of ${key}.`);
    return { etag: "" };
  }

  #request<T>(what: string, make: () => Promise<T>, kind: "read" | "change" | "create"): Promise<T> {
    return new Promise((resolve, reject) => {
      const answer = (text: string, give: () => void): void =>
        this.#travel(this.#actor, `${text} ${what}`, give);
      const giveUp = (): void =>
        answer("no answer:", () =>
          reject(new StoreUnavailableError(`It is not known what became of ${what}.`)),
        );
      const arrive = (): void => {
        const fault = this.#draw(kind === "create");
        if (!this.#actor.alive && this.#random.chance(0.3)) return;
        if (fault === "lost" || (kind === "read" && fault !== null)) return giveUp();
        if (fault === "late") {
          this.#later(what, make);
          return giveUp();
        }
        const made = make();
        if (fault === "unanswered") {
          made.catch(() => {});
          return giveUp();
        }
        if (fault === "doubled") this.#later(what, make);
        if (fault === "repeated") made.catch(() => {});
        const told = fault === "repeated" ? made.catch(() => {}).then(make) : made;
        told.then(
          (value) => answer("answer:", () => resolve(value)),
          (error: Error) => answer(`${error.name}:`, () => reject(error)),
        );
      };
      this.#travel(null, `${this.#actor.name} ${what}`, arrive);
    });
  }

  #travel(actor: Actor | null, what: string, run: () => void): void {
    if (!this.#random.chance(this.#faults.slow)) return this.#schedule.add({ actor, what, run });
    const at = this.#schedule.now + this.#random.between(1, maxSlowMs);
    this.#schedule.add({ actor, what, run, ready: () => this.#schedule.now >= at });
  }

  #later(what: string, make: () => Promise<unknown>): void {
    const at = this.#schedule.now + this.#random.between(1, maxLateMs);
    this.#schedule.add({
      actor: null,
      what: `${this.#actor.name} late ${what}`,
      ready: () => this.#schedule.now >= at,
      run: () => void make().catch(() => {}),
    });
  }

  #draw(isCreate: boolean): Fault | null {
    let left = this.#random.next();
    for (const fault of faultsInOrder) {
      const rate = this.#faults[fault] * (isCreate && fault === "doubled" ? createsDoubledMore : 1);
      if (left < rate) return fault;
      left -= rate;
    }
    return null;
  }
}
