import { DrainingError, type StorageError } from "../storage/errors.ts";
import type { Wake } from "../storage/wakes.ts";
import type { Due, HostedTenant } from "./hosted-tenant.ts";
import { LocalDisk } from "./local-disk.ts";
import { OpeningQueue } from "./opening-queue.ts";
import { ParkedTenants } from "./parked-tenants.ts";
import type { SlotOptions } from "./slot-options.ts";
import { TenantSlot } from "./tenant-slot.ts";
import { sizeOf } from "./tenant-status.ts";

/** Openings at a time: a restore is a process and a download, unparking some milliseconds. */
const openingsAtOnce = { claim: 8, unpark: 32 } as const;
/** Openings that may wait, of requests and of others; beyond, clients are told to come again. */
const maxWaitingOpenings = 1_000;
const openingWaitMs = { client: 15_000, background: 60_000 } as const;
/** Open files grow, so the disk is looked at so often. */
const diskEveryMs = 10_000;

export interface TenantPlacesOptions extends Omit<
  SlotOptions,
  "openings" | "onUnused" | "onOpened" | "onElsewhere" | "onParked" | "onReleased" | "onWakesUnknown"
> {
  /** A tenant that nobody has used for so long is parked. */
  readonly idleMs: number;
  /** A parked tenant that nobody has used for so long is given away. */
  readonly releaseMs: number;
  /** So many tenants may be open at a time. */
  readonly maxOpen: number;
  /** Bytes that the files of all tenants may take on the disk; null: as many as there are. */
  readonly maxDiskBytes: number | null;
}

export interface PlacesEvents {
  /** A tenant leaves memory whose unfinished runs are due again. */
  readonly onDue: (tenantId: string, due: Due) => void;
  /** A tenant was claimed of which wakes may stand that others have put: all of them are to be looked at. */
  readonly onWakesUnknown: () => void;
}

/** Which tenants a host has open, parked and on its disk, and the bounds on each. */
export class TenantPlaces {
  readonly #options: TenantPlacesOptions;
  readonly #events: PlacesEvents;
  /** The tenants that are open, or on their way into or out of it, or could not be opened. */
  readonly #slots = new Map<string, TenantSlot>();
  readonly #parked: ParkedTenants;
  readonly #openings: OpeningQueue;
  readonly #disk: LocalDisk | null;
  /** Those that are being parked because others wait for their places. */
  readonly #makingRoom = new Set<TenantSlot>();
  #ended = false;
  #diskSeenAt = 0;

  constructor(options: TenantPlacesOptions, events: PlacesEvents) {
    this.#options = options;
    this.#events = events;
    this.#disk = this.#watchDisk();
    this.#parked = new ParkedTenants({
      releaseMs: options.releaseMs,
      slotOf: (tenantId) => this.slot(tenantId),
      isStoreUp: () => this.#isStoreUp,
    });
    const limits = { places: options.maxOpen, atOnce: openingsAtOnce };
    this.#openings = new OpeningQueue(
      { ...limits, maxWaiting: maxWaitingOpenings, maxWaitMs: openingWaitMs },
      (places) => this.#makeRoom(places),
    );
    void this.#disk
      ?.scan()
      .catch((error: unknown) =>
        options.log.warn({ err: error }, "what an earlier life of this host left does not count on the disk"),
      );
  }

  /** Openings that wait for their turn. */
  get waiting(): number {
    return this.#openings.length;
  }

  get parked(): number {
    return this.#parked.size;
  }

  /** Files that were deleted because the disk's bound was reached. */
  get evictions(): number {
    return this.#disk?.evictions ?? 0;
  }

  /** Tenants that could not be opened the last time that was tried. */
  get unavailable(): number {
    return [...this.#slots.values()].filter(({ hasFailed }) => hasFailed).length;
  }

  open(): readonly HostedTenant[] {
    return [...this.#slots.values()].flatMap(({ open }) => open ?? []);
  }

  /** Whether the tenant is this host's, open or parked. */
  isHere(tenantId: string): boolean {
    return this.#parked.get(tenantId) !== undefined || this.#slots.get(tenantId)?.isHere === true;
  }

  /** The tenant's slot; a tenant that is parked is there from now on. */
  slot(tenantId: string): TenantSlot {
    const known = this.#slots.get(tenantId);
    if (known !== undefined) return known;
    const left = (how: "parked" | "released", due: Due | null): void => {
      if (due !== null) this.#events.onDue(tenantId, due);
      if (!this.#ended) void this.#disk?.closed(tenantId, how).catch(() => {});
    };
    const options: SlotOptions = {
      ...this.#options,
      openings: this.#openings,
      onUnused: () => this.#openings.length > 0 && this.#openings.admit(),
      onOpened: () => this.#disk?.opened(tenantId),
      onElsewhere: () => this.#disk?.elsewhere(tenantId),
      onParked: (parkedSlot, due) => {
        left("parked", due);
        this.#forgetParked(parkedSlot);
      },
      onReleased: (due) => left("released", due),
      onWakesUnknown: this.#events.onWakesUnknown,
    };
    const slot = new TenantSlot(tenantId, options, this.#parked.take(tenantId));
    this.#slots.set(tenantId, slot);
    return slot;
  }

  /** These wakes stand in the store: those of tenants that are open here are theirs, and go with them, whoever put them. */
  adopt(wakes: readonly Wake[]): void {
    for (const { tenantId, key } of wakes) {
      const slot = this.#slots.get(tenantId);
      if (slot !== undefined && slot.open !== null) slot.wakes.adopt(key);
    }
  }

  /** When a wake is due for which the tenant was parked, if that is later than now: a wake counts minutes. */
  dueLater(tenantId: string, key: string): number | null {
    const due = this.#parked.get(tenantId)?.due;
    return due?.wake === key && due.at > Date.now() ? due.at : null;
  }

  /** When something is to be done that nobody asks for, epoch milliseconds; 0 while something is being done. */
  nextDue(): number {
    if (this.#openings.length > 0) return 0;
    const dues = this.open().map((tenant) => {
      const { running, nextWakeAt } = tenant.runs.activity();
      return running > 0 || !tenant.file.rounds.isCovered ? 0 : (nextWakeAt ?? Infinity);
    });
    return Math.min(this.#parked.nextDue(), ...dues);
  }

  /** To be called from time to time. */
  keepHouse(): void {
    for (const [tenantId, slot] of this.#slots) {
      if (slot.isForgettable) this.#forget(tenantId);
      this.#forgetParked(slot);
      slot.open?.ensureWake().catch(() => {});
      slot.keepHouse(this.#options.idleMs).catch(() => {});
    }
    this.#parked.keepHouse(Date.now());
    this.#openings.admit();
    if (Date.now() - this.#diskSeenAt < diskEveryMs) return;
    this.#diskSeenAt = Date.now();
    void this.#disk?.look().catch(() => {});
  }

  /**
   * Gives every tenant away, for good; attempts under way get `graceMs` to end, and parked tenants have until it is `late`.
   * False if one keeps its claim, as this Machine may have what the store has not.
   */
  async end({ graceMs, late }: { readonly graceMs: number; readonly late: AbortSignal }): Promise<boolean> {
    this.#ended = true;
    this.#openings.close(new DrainingError());
    const slots = [...this.#slots.values()];
    await Promise.all([...slots.map((slot) => slot.end(graceMs)), this.#parked.end(late)]);
    return [...this.#slots.values()].every(({ keepsClaim }) => !keepsClaim);
  }

  fence(why: StorageError): void {
    this.#ended = true;
    this.#openings.close(why);
    this.#parked.stop();
    for (const slot of this.#slots.values()) slot.fence(why);
  }

  /** As far as is known. */
  get #isStoreUp(): boolean {
    return this.#options.storage.hostRecord.trouble === null;
  }

  #forget(tenantId: string): void {
    this.#slots.delete(tenantId);
    void this.#disk?.left(tenantId).catch(() => {});
  }

  /** Of a parked tenant only what is needed to go on is kept. */
  #forgetParked(slot: TenantSlot): void {
    const { parked } = slot;
    if (parked === null || this.#ended) return;
    this.#slots.delete(slot.tenantId);
    this.#parked.add(slot.tenantId, parked, Date.now());
  }

  /** Parks those that nobody has used for longest, as many as others wait for. */
  #makeRoom(places: number): void {
    if (places <= this.#makingRoom.size) return;
    const parkable = [...this.#slots.values()].filter(
      (slot) => slot.isParkable && !this.#makingRoom.has(slot),
    );
    const leastUsed = parkable.toSorted((a, b) => a.lastUsedAt - b.lastUsedAt);
    for (const slot of leastUsed.slice(0, places - this.#makingRoom.size)) {
      this.#makingRoom.add(slot);
      void slot.park().finally(() => this.#makingRoom.delete(slot));
    }
  }

  #watchDisk(): LocalDisk | null {
    const { maxDiskBytes: maxBytes, storage } = this.#options;
    if (maxBytes === null) return null;
    return new LocalDisk({
      dataFolder: storage.dataFolder,
      maxBytes,
      openFiles: () => new Map(this.open().map(({ id, file }) => [id, () => sizeOf(file.path)])),
      isStoreUp: () => this.#isStoreUp,
      evict: async (tenantId) => {
        const slot = this.slot(tenantId);
        await slot.release();
        return await slot.evict();
      },
    });
  }
}
