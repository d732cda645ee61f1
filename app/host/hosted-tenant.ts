import { uuidv7 } from "uuidv7";
import type { HoldfastDb } from "../../db/connect.ts";
import type { Agent } from "../engine/agent.ts";
import { systemClock, type Clock } from "../engine/clock.ts";
import { Engine } from "../engine/engine.ts";
import { noGuard, type Guard } from "../engine/guard.ts";
import type { Durability } from "../engine/journal.ts";
import type { EngineLog } from "../engine/log.ts";
import { NotDurableError, StorageError } from "../storage/errors.ts";
import { SqliteJournal } from "../storage/journal.ts";
import type { OpenTenant, StoragePorts } from "../storage/open-tenant.ts";
import { parkTenant, type ParkedTenant } from "../storage/park.ts";
import { RecordChangedError } from "../storage/records.ts";
import { VoidRegistrationError } from "../storage/replica.ts";
import type { TenantWakes } from "../storage/wakes.ts";
import type { Tenant } from "./host.ts";

/** Writes that nobody waits for are shipped after this; it doubles, up to the bound, while the store does not take them. */
const shipAfterMs = 1_000;
const maxShipAfterMs = 8_000;

/** Runs of one tenant in memory at a time; more wait their turn, and those that only wait make room. */
const maxLiveRuns = 1_000;

export interface HostedTenantOptions {
  readonly agents: ReadonlyMap<string, Agent>;
  readonly durability: Durability;
  readonly log: EngineLog;
  /** Watches whose code has the event loop; by default nobody does. */
  readonly guard?: ((tenantId: string) => Guard) | undefined;
  readonly wakes: TenantWakes;
  readonly clock?: Clock;
  /** Told once, when the tenant must be opened anew before anything can be acknowledged again. */
  readonly onBroken: (error: Error) => void;
}

/** When unfinished runs of a tenant are due again, epoch milliseconds, and the key of the wake that stands for them. */
export interface Due {
  readonly at: number;
  readonly wake: string;
}

/** A parked tenant, and when unfinished runs of it are due; null if nothing is. */
export interface Parked {
  readonly tenant: ParkedTenant;
  readonly due: Due | null;
}

/** A tenant that is open on this host: its file, the engine on it, and the wake that stands for its unfinished runs. */
export class HostedTenant implements Tenant {
  readonly id: string;
  readonly runs: Engine;
  readonly durability: Durability;
  readonly file: OpenTenant;
  readonly journal: SqliteJournal;
  readonly #options: HostedTenantOptions;
  #shipTimer: NodeJS.Timeout | null = null;
  #shipAfterMs = shipAfterMs;
  #closed = false;

  constructor(file: OpenTenant, options: HostedTenantOptions) {
    this.id = file.id;
    this.file = file;
    this.durability = options.durability;
    this.#options = options;
    options.wakes.begin(file.epoch);
    this.journal = new SqliteJournal(file.connection, file.codec, () => this.#gate());
    this.runs = new Engine({
      agents: options.agents,
      journal: this.journal,
      clock: options.clock ?? systemClock,
      log: options.log,
      tenantId: file.id,
      durability: options.durability,
      newId: () => uuidv7(),
      random: Math.random,
      guard: options.guard?.(file.id) ?? noGuard,
      maxLive: maxLiveRuns,
      onTrouble: (error) => options.onBroken(error as Error),
    });
    file.onCommit = () => this.#shipSoon();
    if (!file.rounds.isCovered) this.#shipSoon();
  }

  get epoch(): number {
    return this.file.epoch;
  }

  get db(): HoldfastDb {
    return this.file.connection.db;
  }

  durable(): Promise<void> {
    return this.journal.durable();
  }

  /** Puts the wake that stands for unfinished runs, if none stands. */
  async ensureWake(): Promise<void> {
    if (this.runs.unfinished > 0) await this.#options.wakes.ensure(Date.now());
  }

  /**
   * Makes everything durable, leaves a wake for what is unfinished and gives the tenant away; gives when that is due.
   * `unused` resolves when nobody who came before uses the tenant any more. Throws if it cannot be released.
   */
  async release(graceMs: number, unused: () => Promise<void>): Promise<Due | null> {
    const at = await this.#stopRuns(graceMs, unused);
    let due: Due | null = null;
    await this.file.release(async () => {
      due = await this.#settleWakes(at);
    });
    this.#close();
    return due;
  }

  /** As `release`, but the tenant stays this host's. Throws if it cannot be parked. */
  async park(storage: StoragePorts, unused: () => Promise<void>): Promise<Parked> {
    const at = await this.#stopRuns(0, unused);
    let due: Due | null = null;
    const tenant = await parkTenant(this.file, storage, async () => {
      due = await this.#settleWakes(at);
    });
    this.#close();
    return { tenant, due };
  }

  /** Lets everything go at once, without a word to the store. */
  async abandon(why: Error): Promise<void> {
    this.#close();
    const stopped = this.runs.stop(0);
    await this.file.abandon(why);
    await stopped;
  }

  /** Resolves when nobody writes any more and all is in the file; gives when unfinished runs are due. */
  async #stopRuns(graceMs: number, unused: () => Promise<void>): Promise<number | null> {
    const left = await this.runs.stop(graceMs);
    await unused();
    await this.journal.flush();
    return left.running > 0 ? Date.now() : left.nextWakeAt;
  }

  async #settleWakes(at: number | null): Promise<Due | null> {
    const wake = await this.#options.wakes.settle(at);
    return at === null || wake === null ? null : { at, wake };
  }

  #close(): void {
    this.#closed = true;
    if (this.#shipTimer !== null) clearTimeout(this.#shipTimer);
  }

  async #gate(): Promise<void> {
    try {
      await Promise.all([this.file.durable(), this.ensureWake()]);
    } catch (error) {
      if (error instanceof VoidRegistrationError || error instanceof RecordChangedError)
        this.#options.onBroken(error);
      if (error instanceof StorageError) throw error;
      throw new NotDurableError((error as Error).message, { cause: error });
    }
  }

  #shipSoon(): void {
    if (this.#shipTimer !== null || this.#closed) return;
    this.#shipTimer = setTimeout(() => {
      this.#shipTimer = null;
      void this.#ship();
    }, this.#shipAfterMs);
  }

  async #ship(): Promise<void> {
    if (this.file.rounds.isCovered || this.#closed) return;
    try {
      await this.durable();
      this.#shipAfterMs = shipAfterMs;
    } catch (error) {
      this.#shipAfterMs = Math.min(this.#shipAfterMs * 2, maxShipAfterMs);
      this.#options.log.warn({ err: error, tenant: this.id }, "what was written could not be shipped yet");
    }
    if (!this.file.rounds.isCovered) this.#shipSoon();
  }
}
