import type { FarFromHome } from "../storage/claim.ts";
import { TenantUnavailableError, type StorageError } from "../storage/errors.ts";

/** `claim` makes a tenant this host's, and may restore its file; `unpark` goes on with a file that is here, in milliseconds. */
export type Lane = "claim" | "unpark";
/** Who waits: a request, or what nobody waits for, such as a wake. */
export type Rank = "client" | "background";

/** Who wants a tenant: by default a request, and one that may be sent to the tenant's home. */
export interface Approach {
  readonly rank?: Rank;
  readonly farFromHome?: FarFromHome;
}

export interface OpeningLimits {
  /** Tenants that may be open, or on their way into or out of it. */
  readonly places: number;
  /** Openings of a lane that may be under way. */
  readonly atOnce: Readonly<Record<Lane, number>>;
  /** Openings of a rank that may wait. */
  readonly maxWaiting: number;
  readonly maxWaitMs: Readonly<Record<Rank, number>>;
}

/** One opening: it waits for its turn, then holds a place until it is closed again. */
export interface Turn {
  /** Resolves when the opening may begin; rejects if it waited in vain. */
  readonly come: Promise<void>;
  /** A request waits for it now. */
  promote(): void;
  /** It has ended, well or not: the next one of its lane may begin. */
  opened(): void;
  /** The tenant is open no more. Implies `opened`. */
  leave(): void;
}

interface Waiter {
  /** When it joined its line, counted over all lines. */
  order: number;
  readonly lane: Lane;
  readonly begin: () => void;
  readonly refuse: (why: StorageError) => void;
}

const lanes: readonly Lane[] = ["claim", "unpark"];
const ranks: readonly Rank[] = ["client", "background"];

/**
 * Who may open a tenant next. Requests go before wakes, each in order of arrival; unparking waits for no restore, only
 * for a place. Where places are short, whoever owns them is asked to make room.
 */
export class OpeningQueue {
  readonly #limits: OpeningLimits;
  readonly #makeRoom: (places: number) => void;
  readonly #waiting: Readonly<Record<Rank, Readonly<Record<Lane, Set<Waiter>>>>> = {
    client: { claim: new Set(), unpark: new Set() },
    background: { claim: new Set(), unpark: new Set() },
  };
  readonly #opening: Record<Lane, number> = { claim: 0, unpark: 0 };
  #taken = 0;
  #arrivals = 0;
  #closed: StorageError | null = null;

  /** `makeRoom` is told how many wait for nothing but a place, whenever that is so; it may give none. */
  constructor(limits: OpeningLimits, makeRoom: (places: number) => void) {
    this.#limits = limits;
    this.#makeRoom = makeRoom;
  }

  get length(): number {
    return ranks.reduce((sum, rank) => sum + this.#lengthOf(rank), 0);
  }

  /** Throws TenantUnavailableError when too many wait already. */
  enter(lane: Lane, rank: Rank): Turn {
    if (this.#closed !== null) throw this.#closed;
    if (this.#lengthOf(rank) >= this.#limits.maxWaiting)
      throw busy(`${this.#limits.maxWaiting} wait already`);
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    let state: "waiting" | "opening" | "open" | "gone" = "waiting";
    let timer: NodeJS.Timeout;
    let line = this.#waiting[rank][lane];
    const waiter: Waiter = {
      order: 0,
      lane,
      begin: () => {
        clearTimeout(timer);
        state = "opening";
        resolve();
      },
      refuse: (why) => {
        clearTimeout(timer);
        line.delete(waiter);
        state = "gone";
        reject(why);
      },
    };
    const waitFor = (as: Rank): void => {
      clearTimeout(timer);
      line.delete(waiter);
      line = this.#waiting[as][lane];
      line.add(waiter);
      waiter.order = this.#arrivals += 1;
      const withinMs = this.#limits.maxWaitMs[as];
      timer = setTimeout(() => waiter.refuse(busy(`its turn did not come within ${withinMs} ms`)), withinMs);
    };
    const opened = (): void => {
      if (state !== "opening") return;
      state = "open";
      this.#opening[lane] -= 1;
      this.admit();
    };
    waitFor(rank);
    this.admit();
    return {
      come: promise,
      promote: () => {
        if (state !== "waiting" || rank === "client") return;
        rank = "client";
        waitFor("client");
        this.admit();
      },
      opened,
      leave: () => {
        opened();
        if (state !== "open") return;
        state = "gone";
        this.#taken -= 1;
        this.admit();
      },
    };
  }

  /** Lets begin whatever may. */
  admit(): void {
    for (;;) {
      const next = this.#next();
      if (next === undefined) return;
      if (this.#taken >= this.#limits.places) return this.#makeRoom(this.#admissible());
      next.line.delete(next.waiter);
      this.#taken += 1;
      this.#opening[next.waiter.lane] += 1;
      next.waiter.begin();
    }
  }

  /** Nobody is let in any more. */
  close(why: StorageError): void {
    this.#closed = why;
    for (const rank of ranks)
      for (const lane of lanes) for (const waiter of this.#waiting[rank][lane]) waiter.refuse(why);
  }

  /** Whoever came first to a lane that has room, requests before others. */
  #next(): { readonly waiter: Waiter; readonly line: Set<Waiter> } | undefined {
    for (const rank of ranks) {
      const heads = lanes
        .filter((lane) => this.#opening[lane] < this.#limits.atOnce[lane])
        .flatMap((lane) => {
          const line = this.#waiting[rank][lane];
          const [waiter] = line;
          return waiter === undefined ? [] : [{ waiter, line }];
        });
      const [first] = heads.toSorted((a, b) => a.waiter.order - b.waiter.order);
      if (first !== undefined) return first;
    }
    return undefined;
  }

  /** How many could begin if there were places enough. */
  #admissible(): number {
    return lanes.reduce((sum, lane) => {
      const waiting = ranks.reduce((count, rank) => count + this.#waiting[rank][lane].size, 0);
      return sum + Math.min(waiting, this.#limits.atOnce[lane] - this.#opening[lane]);
    }, 0);
  }

  #lengthOf(rank: Rank): number {
    return lanes.reduce((sum, lane) => sum + this.#waiting[rank][lane].size, 0);
  }
}

function busy(why: string): TenantUnavailableError {
  return new TenantUnavailableError(`Too many tenants are being opened on this host: ${why}.`, {
    retryAfterSeconds: 5,
  });
}
