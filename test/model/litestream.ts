import { LitestreamError, type LitestreamControl } from "../../app/storage/litestream-control.ts";
import type { ObjectStore } from "../../app/storage/object-store.ts";
import type { Random } from "../crash/drill/random.ts";
import type { Ltx, MemoryDisk, ShippingNotes } from "../fakes/memory-disk.ts";
import { Actor, type Schedule } from "./schedule.ts";

export interface LitestreamFaults {
  /** How often a call gets no answer in time, of 1; what it asked for may happen all the same. */
  timeout: number;
  /** How often a sync answers before all is shipped, of 1. */
  early: number;
  /** How often a sync ships nothing from then on, and says so only by a txid that has fallen, of 1. */
  miscounts: number;
}

export interface LitestreamParts {
  readonly disk: MemoryDisk;
  /** As the process itself reaches it. */
  readonly store: (actor: Actor) => ObjectStore;
  readonly schedule: Schedule;
  readonly random: Random;
  readonly faults: LitestreamFaults;
}

/** What one file's shipping has come to. */
interface Registration {
  readonly path: string;
  readonly prefix: string;
  /** The last txid in the store, as far as is known; null before the first contact. */
  remote: number | null;
  /** The last txid that it has taken itself: its notes must go so far. */
  taken: number;
  /** Whether it ships nothing any more, and tells so by its txid alone. */
  miscounts: boolean;
  live: boolean;
  /** One thing at a time is done with a file. */
  busy: Promise<unknown>;
}

/**
 * A process of Litestream, as it behaves: it follows a file by its path, notes beside it what it has taken, and ships that
 * under the prefix, each transaction once. It does not see that a file was replaced; where the prefix holds more than its
 * notes it goes on after that with a snapshot; where it holds less than it has kept it sticks; and without its notes it
 * refuses every sync until the file is registered anew.
 */
export class ModelLitestream {
  readonly actor: Actor;
  readonly #parts: LitestreamParts;
  readonly #store: ObjectStore;
  readonly #registrations = new Map<string, Registration>();
  /** Calls without an answer, to be failed by its death. */
  readonly #pending = new Set<() => void>();

  constructor(name: string, parts: LitestreamParts) {
    this.actor = new Actor(name);
    this.#parts = parts;
    this.#store = parts.store(this.actor);
  }

  /** Its calls, as the host makes them. */
  control(host: Actor): LitestreamControl {
    return {
      register: ({ path, replicaUrl }) =>
        this.#call(host, `register ${path}`, async () => this.#register(path, replicaUrl)),
      sync: ({ path }) => this.#call(host, `sync ${path}`, () => this.#sync(path)),
      unregister: ({ path }) => this.#call(host, `unregister ${path}`, () => this.#unregister(path)),
      info: () => this.#call(host, "info", async () => ({ pid: 1, version: "0.5.17" })),
      list: () =>
        this.#call(host, "list", async () =>
          [...this.#registrations.keys()].map((path) => ({ path, status: "replicating" })),
        ),
      close: () => {},
    };
  }

  /** What it does once a second without being asked. */
  syncByItself(): void {
    for (const registration of this.#registrations.values()) this.#ship(registration).catch(() => {});
  }

  kill(): void {
    this.actor.alive = false;
    for (const fail of this.#pending) fail();
    this.#pending.clear();
  }

  #call<T>(host: Actor, what: string, work: () => Promise<T>): Promise<T> {
    const { schedule, random, faults } = this.#parts;
    return new Promise((resolve, reject) => {
      const back = (text: string, give: () => void): void =>
        schedule.add({ actor: host, what: `Litestream ${text} ${what}`, run: give });
      const fail = (): void =>
        back("failed", () => reject(new LitestreamError(`${what} failed`, { path: undefined })));
      if (!this.actor.alive || random.chance(faults.timeout)) fail();
      else this.#pending.add(fail);
      const answer = (text: string, give: () => void): void => {
        this.#pending.delete(fail);
        back(text, give);
      };
      schedule.add({
        actor: this.actor,
        what,
        run: () =>
          void work().then(
            (value) => answer(`answers ${JSON.stringify(value)} to`, () => resolve(value)),
            (error: Error) => answer(`refuses: ${error.message}:`, () => reject(asLitestreamError(error))),
          ),
      });
    });
  }

  #register(path: string, prefix: string): "registered" | "already_registered" {
    if (this.#registrations.has(path)) return "already_registered";
    const busy = Promise.resolve();
    this.#registrations.set(path, {
      path,
      prefix,
      remote: null,
      taken: 0,
      miscounts: false,
      live: true,
      busy,
    });
    return "registered";
  }

  async #sync(path: string): Promise<{ readonly txid: number; readonly replicatedTxid: number }> {
    const registration = this.#registrations.get(path);
    if (registration === undefined) throw new LitestreamError("it is not registered", { path, status: 404 });
    const { disk, random, faults } = this.#parts;
    const shipped = this.#ship(registration);
    if (registration.remote !== null && random.chance(faults.early)) {
      shipped.catch(() => {});
      this.#take(registration);
    } else await shipped;
    const remote = registration.remote ?? 0;
    if (remote > 1 && random.chance(faults.miscounts)) registration.miscounts = true;
    if (registration.miscounts) return { txid: 1, replicatedTxid: remote };
    return { txid: disk.folderOf(path)?.shipping?.taken.at(-1)?.txid ?? 0, replicatedTxid: remote };
  }

  async #unregister(path: string): Promise<void> {
    const registration = this.#registrations.get(path);
    if (registration === undefined) return;
    const last = this.#ship(registration);
    this.#registrations.delete(path);
    try {
      await last;
    } finally {
      registration.live = false;
    }
  }

  #ship(registration: Registration): Promise<void> {
    const shipped = registration.busy.then(async () => {
      if (registration.miscounts) return;
      registration.remote ??= await this.#lastShipped(registration.prefix);
      await this.#upload(registration, this.#take(registration));
    });
    registration.busy = shipped.catch(() => {});
    return shipped;
  }

  async #lastShipped(prefix: string): Promise<number> {
    return lastTxid(await this.#store.list(ltxFolder(prefix)));
  }

  /** Notes what was committed since it last looked: whatever file is at the path now. */
  #take(registration: Registration): ShippingNotes {
    const folder = this.#parts.disk.folderOf(registration.path);
    if (folder?.file == null) throw new Error(`there is no file at ${registration.path}`);
    folder.shipping ??= { taken: [] };
    const { taken } = folder.shipping;
    const last = taken.at(-1) ?? { txid: 0, upTo: 0 };
    if (last.txid < registration.taken) throw new Error("cannot verify wal state: its notes are gone");
    const { writes } = folder.file;
    const behind = registration.taken === 0 && last.txid < (registration.remote ?? 0);
    const snapshot = last.txid === 0 || behind;
    if (snapshot || writes.length > last.upTo) {
      const txid = (behind ? (registration.remote ?? 0) : last.txid) + 1;
      taken.push({
        txid,
        upTo: writes.length,
        ltx: { snapshot, writes: writes.slice(snapshot ? 0 : last.upTo) },
      });
    }
    registration.taken = taken.at(-1)?.txid ?? 0;
    return folder.shipping;
  }

  async #upload(registration: Registration, { taken }: ShippingNotes): Promise<void> {
    for (const one of taken.filter(({ txid }) => txid > (registration.remote ?? 0))) {
      if (!registration.live) throw new Error("it was let go");
      if (one.ltx === null || one.txid !== (registration.remote ?? 0) + 1)
        throw new Error(`the replica ends at ${registration.remote}, and ${one.txid} comes next here`);
      await this.#store.put(ltxKey(registration.prefix, one.txid), JSON.stringify(one.ltx));
      registration.remote = one.txid;
      one.ltx = null;
    }
  }
}

/** What `litestream restore` does: all transactions from the first on, and an error if one is missing. */
export async function restoreInto(
  disk: MemoryDisk,
  store: ObjectStore,
  { replicaUrl, outputPath }: { readonly replicaUrl: string; readonly outputPath: string },
): Promise<{ readonly txid: number }> {
  const last = lastTxid(await store.list(ltxFolder(replicaUrl)));
  if (last === 0) throw new Error("there is no backup");
  const writes: string[] = [];
  for (let txid = 1; txid <= last; txid += 1) {
    const object = await store.get(ltxKey(replicaUrl, txid));
    if (object === undefined) throw new Error(`transaction ${txid} of ${last} is missing`);
    const ltx = JSON.parse(Buffer.from(object.body).toString()) as Ltx;
    if (ltx.snapshot) writes.length = 0;
    writes.push(...ltx.writes);
  }
  const folder = disk.folderOf(outputPath);
  if (folder === undefined) throw new Error(`the folder of ${outputPath} is gone`);
  folder.scratch = { writes, checkpointed: 0, damaged: false };
  return { txid: last };
}

/** Where a replica's transactions lie. */
export function ltxFolder(prefix: string): string {
  return `${prefix}/ltx/0/`;
}

function ltxKey(prefix: string, txid: number): string {
  const hex = txid.toString(16).padStart(16, "0");
  return `${ltxFolder(prefix)}${hex}-${hex}.ltx`;
}

function lastTxid(sortedKeys: readonly string[]): number {
  return Number.parseInt(sortedKeys.at(-1)?.slice(-20, -4) ?? "0", 16);
}

function asLitestreamError(error: Error): LitestreamError {
  return error instanceof LitestreamError
    ? error
    : new LitestreamError(error.message, { path: undefined, status: 500 }, { cause: error });
}
