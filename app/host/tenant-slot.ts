import { setTimeout as sleep } from "node:timers/promises";
import { CrashNotes, type CrashNote } from "../storage/crash-notes.ts";
import type { FarFromHome } from "../storage/claim.ts";
import {
  databaseTrouble,
  DrainingError,
  ElsewhereError,
  StorageError,
  TenantUnavailableError,
} from "../storage/errors.ts";
import { openTenant, type StoragePorts } from "../storage/open-tenant.ts";
import type { Replica } from "../storage/replica.ts";
import { TenantWakes } from "../storage/wakes.ts";
import { quarantineCrashLoops } from "./crash-quarantine.ts";
import { HostedTenant, type HostedTenantOptions } from "./hosted-tenant.ts";

/** After an opening that failed the next one waits, twice as long each time, up to the bound. */
const firstRetryMs = 500;
const maxRetryMs = 30_000;
const usersGraceMs = 5_000;

export type SlotOptions = Omit<HostedTenantOptions, "wakes" | "onBroken"> & {
  readonly storage: StoragePorts;
  /** Told after a release when unfinished runs are due again; null if nothing is. Epoch milliseconds. */
  readonly onReleased: (due: number | null) => void;
};

type SlotState =
  | { readonly kind: "closed" }
  | { readonly kind: "opening"; readonly opening: Promise<void> }
  | { readonly kind: "open"; readonly tenant: HostedTenant }
  | { readonly kind: "closing"; readonly closing: Promise<void> }
  | { readonly kind: "failed"; readonly error: StorageError; readonly until: number };

/** One tenant's place on this host: opened by its first use, kept while it is used, closed once. */
export class TenantSlot {
  readonly tenantId: string;
  readonly wakes: TenantWakes;
  readonly #options: SlotOptions;
  #state: SlotState = { kind: "closed" };
  #uses = 0;
  #lastUsedAt = 0;
  #failures = 0;
  /** Epochs in a row that were given up soon after they were opened. */
  #drops = 0;
  #openedAt = 0;
  /** What Litestream may still hold of an epoch that was abandoned; its file must not move before. */
  #leftover: Replica | null = null;
  /** Something waits to be done or shipped here, although nobody asks. */
  #isWanted = false;
  #onUnused: (() => void) | null = null;
  #ended: StorageError | null = null;
  readonly #crashNotes: CrashNotes;
  /** Notes of crashes that have done their service. */
  #spentNotes: readonly CrashNote[] = [];
  /** What ended the epoch that is just being opened. */
  #brokenAtOpening: Error | null = null;

  constructor(tenantId: string, options: SlotOptions) {
    this.tenantId = tenantId;
    this.#options = options;
    const { store, dataFolder } = options.storage;
    this.wakes = new TenantWakes(store, tenantId);
    this.#crashNotes = new CrashNotes(store, dataFolder, tenantId);
  }

  get open(): HostedTenant | null {
    return this.#state.kind === "open" ? this.#state.tenant : null;
  }

  get hasFailed(): boolean {
    return this.#state.kind === "failed";
  }

  /** Whether this Machine may have what the store has not: then nobody should take the tenant over without need. */
  get keepsClaim(): boolean {
    return this.#isWanted || this.#leftover !== null || this.open !== null;
  }

  get isForgettable(): boolean {
    if (this.#uses > 0 || this.#leftover !== null || this.#isWanted) return false;
    // One that failed is remembered for as long as it would make the next opening wait longer.
    return (
      this.#state.kind === "closed" ||
      (this.#state.kind === "failed" && Date.now() >= this.#state.until + maxRetryMs)
    );
  }

  /** Throws ElsewhereError if the tenant is to be served by another host. */
  async use<T>(work: (tenant: HostedTenant) => Promise<T>, farFromHome?: FarFromHome): Promise<T> {
    const tenant = await this.#acquire(farFromHome);
    this.#uses += 1;
    try {
      return await work(tenant);
    } catch (error) {
      throw databaseTrouble(this.tenantId, error);
    } finally {
      this.#uses -= 1;
      this.#lastUsedAt = Date.now();
      if (this.#uses === 0) this.#onUnused?.();
    }
  }

  /** Opens the tenant if it is closed, or was not to be opened, and something waits to be done for it. */
  async look(): Promise<void> {
    if (this.#state.kind === "closed" || this.#state.kind === "failed") await this.use(async () => {});
  }

  /** What must be done from time to time: tries again what failed, and lets an idle tenant go. */
  async keepHouse(idleMs: number): Promise<void> {
    const isDue =
      this.#state.kind === "closed" || (this.#state.kind === "failed" && Date.now() >= this.#state.until);
    void this.#removeSpentNotes();
    if (this.#isWanted && isDue) await this.look();
    else await this.#closeIfIdle(idleMs);
  }

  /** Lets the tenant go if nobody has used it for `idleMs`, nothing runs, all is durable and no wake is near. */
  async #closeIfIdle(idleMs: number): Promise<void> {
    if (this.#state.kind !== "open" || this.#uses > 0) return;
    const now = Date.now();
    if (!this.#state.tenant.file.rounds.isCovered) this.#lastUsedAt = now;
    const { running, nextWakeAt } = this.#state.tenant.runs.activity();
    if (running > 0) this.#lastUsedAt = now;
    if (now - this.#lastUsedAt < idleMs) return;
    if (nextWakeAt !== null && nextWakeAt - now <= idleMs) return;
    await this.#close(0);
  }

  /** Lets the tenant go for good: no use opens it again. Attempts under way may end within `graceMs`. */
  async end(graceMs: number): Promise<void> {
    this.#ended = new DrainingError();
    if (this.#state.kind === "opening") await this.#state.opening.catch(() => {});
    if (this.#state.kind === "closing") await this.#state.closing;
    else if (this.#state.kind === "open") await this.#close(graceMs);
  }

  /** Drops the tenant without a word to the store: this host may not acknowledge anything any more. */
  fence(why: StorageError): void {
    this.#ended = why;
    this.#brokenAtOpening = why;
    if (this.#state.kind === "open") this.#drop(this.#state.tenant, why);
  }

  async #acquire(farFromHome?: FarFromHome): Promise<HostedTenant> {
    for (;;) {
      if (this.#ended !== null) throw this.#ended;
      switch (this.#state.kind) {
        case "open":
          return this.#state.tenant;
        case "opening":
          await this.#state.opening;
          break;
        case "closing":
          await this.#state.closing;
          break;
        case "failed":
          if (Date.now() < this.#state.until) throw this.#state.error;
          await this.#open(farFromHome);
          break;
        case "closed":
          await this.#open(farFromHome);
          break;
        default:
          this.#state satisfies never;
      }
    }
  }

  async #open(farFromHome?: FarFromHome): Promise<void> {
    const opening = this.#tryToOpen(farFromHome);
    this.#state = { kind: "opening", opening };
    await opening;
  }

  async #tryToOpen(farFromHome?: FarFromHome): Promise<void> {
    try {
      const tenant = await this.#openFile(farFromHome);
      this.#state = { kind: "open", tenant };
      this.#failures = 0;
      this.#isWanted = false;
      this.#lastUsedAt = this.#openedAt = Date.now();
      if (this.#brokenAtOpening !== null) this.#drop(tenant, this.#brokenAtOpening);
    } catch (error) {
      if (error instanceof ElsewhereError) {
        // What waits here is done there.
        this.#isWanted = false;
        this.#state = { kind: "closed" };
        throw error;
      }
      const known = unavailable(this.tenantId, error);
      const retryMs = Math.min(firstRetryMs * 2 ** this.#failures++, maxRetryMs);
      this.#state = { kind: "failed", error: known, until: Date.now() + retryMs };
      this.#options.log.error({ err: error, tenant: this.tenantId, retryMs }, "a tenant could not be opened");
      throw known;
    }
  }

  async #openFile(farFromHome?: FarFromHome): Promise<HostedTenant> {
    await this.#leftover?.unregister();
    this.#leftover = null;
    if (this.#ended !== null) throw this.#ended;
    this.#brokenAtOpening = null;
    const { storage, onReleased: _, ...options } = this.#options;
    const file = await openTenant(this.tenantId, storage, farFromHome);
    const tenant: HostedTenant = new HostedTenant(file, {
      ...options,
      wakes: this.wakes,
      onBroken: (error) => {
        if (this.#state.kind === "opening") this.#brokenAtOpening ??= error;
        else this.#drop(tenant, error);
      },
    });
    try {
      if (!file.followsRelease) await this.#quarantine(tenant);
      await tenant.runs.open();
    } catch (error) {
      await this.#abandon(tenant, unavailable(this.tenantId, error));
      throw error;
    }
    options.log.info({ event: "tenant.opened", tenant: this.tenantId, ...file.report }, "tenant opened");
    return tenant;
  }

  /** Runs that brought their host down again and again are not taken up. */
  async #quarantine(tenant: HostedTenant): Promise<void> {
    this.#spentNotes = await quarantineCrashLoops(tenant, this.#crashNotes, this.#options.log);
  }

  /**
   * Notes that have led to a pause go when that is durable: a disk that is lost before takes the pause with it, and they
   * must be there to repeat it. What fails is tried again by the next housekeeping.
   */
  async #removeSpentNotes(): Promise<void> {
    const spent = this.#spentNotes;
    if (spent.length === 0 || this.open?.file.rounds.isCovered !== true) return;
    this.#spentNotes = [];
    try {
      await this.#crashNotes.remove(spent);
    } catch {
      this.#spentNotes = spent;
    }
  }

  async #close(graceMs: number): Promise<void> {
    if (this.#state.kind !== "open") return;
    const { tenant } = this.#state;
    const closing = this.#release(tenant, graceMs);
    this.#state = { kind: "closing", closing };
    await closing;
    this.#state = { kind: "closed" };
  }

  async #release(tenant: HostedTenant, graceMs: number): Promise<void> {
    const facts = { tenant: this.tenantId, epoch: tenant.file.epoch };
    try {
      this.#options.onReleased(await tenant.release(graceMs, () => this.#unused()));
      this.#options.log.info({ event: "tenant.released", ...facts }, "tenant released");
    } catch (error) {
      // Nothing acknowledged is at stake: the claim and the file stay, and the next opening goes on from them.
      this.#options.log.error({ err: error, ...facts }, "a tenant could not be released; its file is kept");
      this.#isWanted = true;
      await this.#abandon(tenant, unavailable(this.tenantId, error));
    }
  }

  /** Those who came before the tenant was to be let go get so long to end. */
  async #unused(): Promise<void> {
    if (this.#uses === 0) return;
    await Promise.race([
      new Promise<void>((resolve) => (this.#onUnused = resolve)),
      sleep(usersGraceMs, undefined, { ref: false }),
    ]);
  }

  /** The epoch is over for this host; unfinished runs go on in the next one, at once unless that happens again and again. */
  #drop(tenant: HostedTenant, why: Error): void {
    if (this.#state.kind !== "open" || this.#state.tenant !== tenant) return;
    this.#options.log.error(
      { err: why, tenant: this.tenantId, epoch: tenant.file.epoch },
      "an epoch was given up",
    );
    this.#isWanted = true;
    const closing = this.#abandon(tenant, why);
    this.#state = { kind: "closing", closing };
    void closing.then(() => (this.#state = this.#afterDrop(why)));
  }

  /** What breaks every epoch, such as a run that cannot be read, would otherwise claim a new one every second. */
  #afterDrop(why: Error): SlotState {
    if (Date.now() - this.#openedAt > maxRetryMs) this.#drops = 0;
    this.#drops += 1;
    if (this.#drops === 1) return { kind: "closed" };
    const retryMs = Math.min(firstRetryMs * 2 ** (this.#drops - 2), maxRetryMs);
    return { kind: "failed", error: unavailable(this.tenantId, why), until: Date.now() + retryMs };
  }

  async #abandon(tenant: HostedTenant, why: Error): Promise<void> {
    try {
      await tenant.abandon(why);
    } catch (error) {
      this.#leftover = tenant.file.replica;
      this.#options.log.warn({ err: error, tenant: this.tenantId }, "Litestream did not let go of a file");
    }
  }
}

function unavailable(tenantId: string, error: unknown): StorageError {
  if (error instanceof StorageError) return error;
  return new TenantUnavailableError(`Tenant "${tenantId}" cannot be served: ${(error as Error).message}`, {
    cause: error,
  });
}
