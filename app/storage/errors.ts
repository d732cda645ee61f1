import { DatabaseError } from "../../db/errors.ts";

/** Base of the errors by which storage refuses: nothing was acknowledged, and the caller may repeat. */
export abstract class StorageError extends Error {
  abstract readonly code: "not_durable" | "tenant_unavailable" | "draining";
  /** After how many seconds a repetition makes sense. */
  abstract readonly retryAfterSeconds: number;
  override get name(): string {
    return this.constructor.name;
  }
}

/** The gate could not pass: what was written is kept, and will be durable later. */
export class NotDurableError extends StorageError {
  readonly code = "not_durable";
  readonly retryAfterSeconds = 1;
  constructor(why: string, options?: ErrorOptions) {
    super(
      `What this answer rests on is not in object storage yet: ${why}. It is kept; repeat the request with the same idempotency key.`,
      options,
    );
  }
}

/** A state of a tenant that was restored and checked just now, and thrown away again. */
export interface RestorePoint {
  readonly epoch: number;
  readonly txid: number;
  /** When its last transaction was made, epoch milliseconds. */
  readonly at: number;
}

/** What mends itself is worth another try sooner. */
const lastingSeconds = 60;

/** What of a tenant is damaged, so that trying again will not help until somebody does something. */
export type Damage = "record" | "replica" | "file";

export interface UnavailableOptions extends ErrorOptions {
  readonly retryAfterSeconds?: number;
  readonly damage?: Damage;
  readonly restorePoint?: RestorePoint;
}

/** The tenant cannot be served here now; every other tenant can. */
export class TenantUnavailableError extends StorageError {
  readonly code = "tenant_unavailable";
  readonly retryAfterSeconds: number;
  /** Null: it may be served again without anybody's help. */
  readonly damage: Damage | null;
  /** Up to where a damaged tenant could be restored, if that is known. */
  readonly restorePoint: RestorePoint | null;
  constructor(why: string, options?: UnavailableOptions) {
    super(why, options);
    this.retryAfterSeconds = options?.retryAfterSeconds ?? 5;
    this.damage = options?.damage ?? null;
    this.restorePoint = options?.restorePoint ?? null;
  }

  /** Whether somebody has to do something before it can be served: its clients are told not to come again for a minute, either. */
  get lasts(): boolean {
    return this.damage !== null || this.retryAfterSeconds >= lastingSeconds;
  }

  withRestorePoint(restorePoint: RestorePoint): TenantUnavailableError {
    const { epoch, txid, at } = restorePoint;
    const why = this.message.replace(/[^.!?]$/, "$&.");
    return new TenantUnavailableError(
      `${why} The newest verified restore point is epoch ${epoch}, txid ${txid}, of ${new Date(at).toISOString()}.`,
      {
        cause: this,
        retryAfterSeconds: this.retryAfterSeconds,
        ...(this.damage === null ? {} : { damage: this.damage }),
        restorePoint,
      },
    );
  }
}

/** This host is stopping, or was fenced: another one takes over. */
export class DrainingError extends StorageError {
  readonly code = "draining";
  readonly retryAfterSeconds = 1;
  constructor(why = "This host is stopping") {
    super(`${why}. Repeat the request: another host, or the next life of this one, will answer.`);
  }
}

/** Where a tenant is served. */
export interface Holder {
  readonly hostId: string;
  readonly machine: string;
  readonly address: string;
  readonly region: string;
}

/**
 * The request goes elsewhere, and nothing was done here: another host has the tenant and lives, or the tenant's home is
 * another region.
 */
export class ElsewhereError extends StorageError {
  readonly code = "tenant_unavailable";
  readonly retryAfterSeconds = 1;
  readonly tenantId: string;
  /** Null if none is known to live in the home region, where one may be started. */
  readonly holder: Holder | null;
  readonly region: string;
  /** "holder": that host has it. "region": nobody has it, and its home region is another one. */
  readonly why: "holder" | "region";
  constructor(
    tenantId: string,
    where: Holder | { readonly region: string },
    why: "holder" | "region" = "holder",
  ) {
    super(
      why === "holder" && "hostId" in where
        ? `Tenant "${tenantId}" is served by another host (${where.hostId}). Repeat the request.`
        : `Tenant "${tenantId}" is at home in region "${where.region}". Repeat the request.`,
    );
    this.tenantId = tenantId;
    this.holder = "hostId" in where ? where : null;
    this.region = where.region;
    this.why = why;
  }
}

/** A disk that is full, a file that is locked or damaged: trouble of that tenant alone. Other errors come back as they are. */
export function databaseTrouble(tenantId: string, error: unknown): unknown {
  if (!(error instanceof DatabaseError)) return error;
  return new TenantUnavailableError(`Tenant "${tenantId}" cannot be served: ${error.message}`, {
    cause: error,
  });
}

/** Whatever keeps a tenant from being served, as an error that its clients are told. */
export function unavailable(tenantId: string, error: unknown): StorageError {
  if (error instanceof StorageError) return error;
  return new TenantUnavailableError(`Tenant "${tenantId}" cannot be served: ${(error as Error).message}`, {
    cause: error,
  });
}
