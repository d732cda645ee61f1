import { localBytes, localTenants } from "../storage/data-folder.ts";

export interface LocalDiskOptions {
  readonly dataFolder: string;
  /** Bytes that all files of tenants may take here. */
  readonly maxBytes: number;
  /** Bytes of the files that are open now. */
  readonly openBytes: () => Promise<number>;
  /** Whether the tenant is open, or on its way. */
  readonly isInUse: (tenantId: string) => boolean;
  /** Whether the store takes writes, as far as is known: without it, a parked tenant would lose its place for nothing. */
  readonly isStoreUp: () => boolean;
  /** Gives a tenant away if it is parked, and deletes its file; false if it is in use or the store lacks something of it. */
  readonly evict: (tenantId: string) => Promise<boolean>;
}

/**
 * The files of tenants that nobody uses, least recently used first. Over the bound those of released tenants are deleted,
 * then those of parked ones; what is open stays, however much it is.
 */
export class LocalDisk {
  readonly #options: LocalDiskOptions;
  readonly #released = new Map<string, number>();
  readonly #parked = new Map<string, number>();
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

  /** Counts what an earlier life of this host left. */
  async scan(): Promise<void> {
    for (const tenantId of await localTenants(this.#options.dataFolder)) {
      const bytes = await localBytes(this.#options.dataFolder, tenantId);
      const isKnown = this.#released.has(tenantId) || this.#parked.has(tenantId);
      if (!isKnown && !this.#options.isInUse(tenantId)) this.#add(this.#released, tenantId, bytes);
    }
    await this.keep();
  }

  /** The tenant's file is closed. */
  async closed(tenantId: string, how: "parked" | "released"): Promise<void> {
    // Released only to be deleted.
    if (tenantId === this.#evicting) return;
    const bytes = await localBytes(this.#options.dataFolder, tenantId);
    this.taken(tenantId);
    this.#add(how === "parked" ? this.#parked : this.#released, tenantId, bytes);
    await this.keep();
  }

  /** The tenant is open, or its file is gone. */
  taken(tenantId: string): void {
    this.#bytes -= (this.#released.get(tenantId) ?? 0) + (this.#parked.get(tenantId) ?? 0);
    this.#released.delete(tenantId);
    this.#parked.delete(tenantId);
  }

  /** Deletes what is over the bound, one call after the other. */
  keep(): Promise<void> {
    this.#keeping = this.#keeping.then(() => this.#keepOnce()).catch(() => {});
    return this.#keeping;
  }

  async #keepOnce(): Promise<void> {
    const { maxBytes, openBytes, evict } = this.#options;
    const open = await openBytes();
    for (
      let next = this.#oldest();
      next !== undefined && this.#bytes + open > maxBytes;
      next = this.#oldest()
    ) {
      this.taken(next);
      this.#evicting = next;
      if (await evict(next)) this.#evictions += 1;
      this.#evicting = null;
    }
  }

  #oldest(): string | undefined {
    const [released] = this.#released.keys();
    if (released !== undefined || !this.#options.isStoreUp()) return released;
    const [parked] = this.#parked.keys();
    return parked;
  }

  #add(files: Map<string, number>, tenantId: string, bytes: number): void {
    files.set(tenantId, bytes);
    this.#bytes += bytes;
  }
}
