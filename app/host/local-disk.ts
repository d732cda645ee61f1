import { localBytes, localTenants } from "../storage/data-folder.ts";

/**
 * What came of an eviction: the file is deleted; it is in use; or it stays for good as the store lacks something of it, until
 * the tenant is open here again.
 */
export type Eviction = "deleted" | "in-use" | "kept";

export interface LocalDiskOptions {
  readonly dataFolder: string;
  /** Bytes that all files of tenants may take here. */
  readonly maxBytes: number;
  /** By tenant: how to learn the bytes of the database and its WAL. */
  readonly openFiles: () => ReadonlyMap<string, () => Promise<number>>;
  /** Whether the store takes writes, as far as is known: without it, a parked tenant would lose its place for nothing. */
  readonly isStoreUp: () => boolean;
  /** Gives a tenant away if it is parked, and deletes its file. */
  readonly evict: (tenantId: string) => Promise<Eviction>;
}

/** Litestream may have thousands of files beside one that is written a lot: of so many open tenants they are counted at a look. */
const countedPerLook = 16;

/** What a tenant has on the disk: in `bytes` the database and its WAL while it is open, else all; `besides` is what else there is. */
interface Holding {
  readonly use: Exclude<Eviction, "deleted"> | "parked" | "released";
  readonly bytes: number;
  readonly besides: number;
}

/**
 * What the files of all tenants take here. Over the bound those of released tenants are deleted, then those of parked ones, the
 * least recently used first; what is open stays, however much it is.
 */
export class LocalDisk {
  readonly #options: LocalDiskOptions;
  /** Of every tenant that has a folder here. */
  readonly #holdings = new Map<string, Holding>();
  readonly #released = new Set<string>();
  readonly #parked = new Set<string>();
  /** The open tenants whose other files are to be counted next. */
  #uncounted: string[] = [];
  #bytes = 0;
  #evictions = 0;
  #evicting: string | null = null;
  #keeping: Promise<void> = Promise.resolve();

  constructor(options: LocalDiskOptions) {
    this.#options = options;
  }

  /** Files that were deleted so far. */
  get evictions(): number {
    return this.#evictions;
  }

  /** What all tenants' files take, as far as was looked. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Counts what an earlier life of this host left. */
  async scan(): Promise<void> {
    for (const tenantId of await localTenants(this.#options.dataFolder)) {
      const bytes = await localBytes(this.#options.dataFolder, tenantId);
      if (!this.#holdings.has(tenantId)) this.#hold(tenantId, { use: "released", bytes, besides: 0 });
    }
    await this.keep();
  }

  opened(tenantId: string): void {
    const { bytes, besides } = this.#holdings.get(tenantId) ?? nothing;
    this.#hold(tenantId, { use: "in-use", bytes, besides });
  }

  /** The tenant's file is closed. */
  async closed(tenantId: string, how: "parked" | "released"): Promise<void> {
    // Released only to be deleted.
    if (tenantId === this.#evicting && how === "released") return;
    const { bytes, besides } = this.#holdings.get(tenantId) ?? nothing;
    const holding: Holding = { use: how, bytes, besides };
    this.#hold(tenantId, holding);
    const counted = await localBytes(this.#options.dataFolder, tenantId);
    // It may be open again.
    if (this.#holdings.get(tenantId) === holding)
      this.#hold(tenantId, { use: how, bytes: counted, besides: 0 });
    await this.keep();
  }

  /** Nobody here has anything to do with the tenant any more, whether or not it was ever open: what is left of it may go. */
  async left(tenantId: string): Promise<void> {
    if (this.#holdings.get(tenantId)?.use === "in-use") await this.closed(tenantId, "released");
  }

  /** Another host has the tenant: what could not be deleted here for what the store lacks may have lost its worth by that. */
  elsewhere(tenantId: string): void {
    const holding = this.#holdings.get(tenantId);
    if (holding?.use !== "kept") return;
    this.#hold(tenantId, { ...holding, use: "released" });
    void this.keep();
  }

  /** Counts what is open, as that grows, and deletes what is over the bound. */
  async look(): Promise<void> {
    const files = this.#options.openFiles();
    await Promise.all(
      [...files].map(async ([tenantId, bytes]) => this.#grow(tenantId, { bytes: await bytes() })),
    );
    if (this.#uncounted.length === 0) this.#uncounted = [...files.keys()];
    for (const tenantId of this.#uncounted.splice(0, countedPerLook)) {
      const bytes = files.get(tenantId);
      if (bytes === undefined) continue;
      const all = await localBytes(this.#options.dataFolder, tenantId);
      this.#grow(tenantId, { besides: Math.max(0, all - (await bytes())) });
    }
    await this.keep();
  }

  /** Deletes what is over the bound, one call after the other. */
  keep(): Promise<void> {
    this.#keeping = this.#keeping.then(() => this.#keepOnce()).catch(() => {});
    return this.#keeping;
  }

  async #keepOnce(): Promise<void> {
    const { maxBytes, evict } = this.#options;
    for (let next = this.#oldest(); next !== undefined && this.#bytes > maxBytes; next = this.#oldest()) {
      const { bytes, besides } = this.#holdings.get(next) ?? nothing;
      const holding: Holding = { use: "in-use", bytes, besides };
      this.#hold(next, holding);
      this.#evicting = next;
      const eviction = await evict(next).finally(() => (this.#evicting = null));
      if (eviction === "deleted") this.#evictions += 1;
      // It may have been opened meanwhile.
      if (this.#holdings.get(next) !== holding) continue;
      if (eviction === "deleted") this.#forget(next);
      else this.#hold(next, { use: eviction, bytes, besides });
    }
  }

  #oldest(): string | undefined {
    const [released] = this.#released;
    if (released !== undefined || !this.#options.isStoreUp()) return released;
    const [parked] = this.#parked;
    return parked;
  }

  #grow(tenantId: string, found: Partial<Pick<Holding, "bytes" | "besides">>): void {
    const holding = this.#holdings.get(tenantId);
    if (holding?.use === "in-use") this.#hold(tenantId, { ...holding, ...found });
  }

  #hold(tenantId: string, holding: Holding): void {
    this.#forget(tenantId);
    this.#holdings.set(tenantId, holding);
    this.#bytes += holding.bytes + holding.besides;
    if (holding.use === "released") this.#released.add(tenantId);
    if (holding.use === "parked") this.#parked.add(tenantId);
  }

  #forget(tenantId: string): void {
    const { bytes, besides } = this.#holdings.get(tenantId) ?? nothing;
    this.#bytes -= bytes + besides;
    this.#holdings.delete(tenantId);
    this.#released.delete(tenantId);
    this.#parked.delete(tenantId);
  }
}

const nothing = { bytes: 0, besides: 0 } as const;
