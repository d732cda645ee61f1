import type { HoldfastDb } from "../../db/connect.ts";
import type { Durability, RunStatus } from "../engine/journal.ts";
import type { Runs } from "../engine/runs.ts";
import type { Holder, RestorePoint } from "../storage/errors.ts";

/** How a host refuses what it has not begun: whoever has asked can send it on. */
export { DrainingError, ElsewhereError, type Holder } from "../storage/errors.ts";

/** A tenant that is open on this host. */
export interface Tenant {
  readonly id: string;
  readonly epoch: number;
  /** Drizzle on the tenant's own file. */
  readonly db: HoldfastDb;
  readonly runs: Runs;
  /** What this host promises for the tenant when neither agent nor request asks for more. */
  readonly durability: Durability;
  /** Resolves once everything committed before the call is durable. Throws NotDurableError. */
  durable(): Promise<void>;
}

/** Times are epoch milliseconds. */
export interface TenantStatus {
  readonly id: string;
  readonly state: "open" | "unavailable";
  /** Why the tenant is unavailable; null when it is open. */
  readonly reason: string | null;
  readonly epoch: number | null;
  readonly host: string | null;
  readonly region: string | null;
  readonly sizeBytes: number | null;
  readonly runs: Readonly<Partial<Record<RunStatus, number>>>;
  /** Up to where a damaged tenant could be restored, as far as that is known; it is never used by itself. */
  readonly restorePoint: RestorePoint | null;
  readonly replication: {
    readonly state: "ok" | "late" | "failing" | "unknown";
    /** When the oldest write that is not durable yet was committed; null if everything is durable. */
    readonly oldestUndurableAt: number | null;
    readonly lastDurableAt: number | null;
    /** What the last attempt failed with; null if it passed. */
    readonly error: string | null;
  };
}

export interface Readiness {
  readonly ready: boolean;
  /** One line for each thing that must hold, e.g. `{name: "litestream", ok: false, detail: "restarting, attempt 3"}`. */
  readonly checks: readonly { readonly name: string; readonly ok: boolean; readonly detail: string }[];
}

/**
 * "forwarded" when another host, or Fly's proxy on another's word, sent the request here: then it is never sent on, and a
 * home region elsewhere does not matter any more.
 */
export type Arrived = "first" | "forwarded";

/** How many tenants had wakes that were due, and how many of them are open by now, here or on the host that has them. */
export interface WakeCounts {
  readonly due: number;
  readonly served: number;
}

export interface Host {
  readonly id: string;
  /**
   * A request has come that is to be answered by this host or through it: until the returned function is called, the host
   * does not end because it has nothing to do.
   */
  attend(): () => void;
  /**
   * Runs `work` on the tenant, which is opened first if it is not, and is not let go while `work` runs.
   * Throws ElsewhereError, TenantUnavailableError, DrainingError.
   */
  use<T>(tenantId: string, work: (tenant: Tenant) => Promise<T>, arrived?: Arrived): Promise<T>;
  /**
   * Never gated, and never throws for a tenant's or the store's trouble: it tells it. Throws ElsewhereError when another
   * host has the tenant: the status is asked there.
   */
  status(tenantId: string, arrived?: Arrived): Promise<TenantStatus>;
  /**
   * A request could not be handed to that host. "refused": nobody listens at its address, so that two missed beats are
   * enough to take over.
   */
  noteUnreachable(hostId: string, how: "refused" | "silent"): void;
  /**
   * Resolves when that host is not worth waiting for: its record is stale, fenced or gone. Polls the store while it waits;
   * ends with `signal`.
   */
  lost(hostId: string, signal: AbortSignal): Promise<void>;
  /** Some other host that lives, for requests that a draining host still gets; null if none is known. */
  anotherHost(): Promise<Holder | null>;
  /** Looks at the store for wakes that are due, and serves them. Throws WakesUnknownError, DrainingError. */
  wakeDue(): Promise<WakeCounts>;
  readiness(): Readiness;
}
