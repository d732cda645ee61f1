import { CrashNotes } from "../storage/crash-notes.ts";
import { evictFile } from "../storage/data-folder.ts";
import type { FarFromHome } from "../storage/claim.ts";
import {
  databaseTrouble,
  DrainingError,
  ElsewhereError,
  type StorageError,
  unavailable,
} from "../storage/errors.ts";
import { ParkedFileLostError, type ParkedTenant } from "../storage/park.ts";
import { TenantWakes } from "../storage/wakes.ts";
import { CrashQuarantine } from "./crash-quarantine.ts";
import type { HostedTenant, Parked } from "./hosted-tenant.ts";
import { Leftover } from "./leftover.ts";
import type { Eviction } from "./local-disk.ts";
import { giveAway } from "./give-away.ts";
import { openHosted } from "./open-hosted.ts";
import { maxRetryMs, OpeningBackoff } from "./opening-backoff.ts";
import type { Approach, Turn } from "./opening-queue.ts";
import type { SlotOptions } from "./slot-options.ts";
import { TenantUsers } from "./tenant-users.ts";

/** Those who came before a tenant is to be let go get so long to end. */
const usersGraceMs = 5_000;

type SlotState =
  | { readonly kind: "closed" }
  | { readonly kind: "parked"; readonly parked: Parked }
  | { readonly kind: "opening"; readonly opening: Promise<void>; readonly turn: Turn }
  | { readonly kind: "open"; readonly tenant: HostedTenant; readonly turn: Turn }
  | { readonly kind: "closing"; readonly closing: Promise<void> }
  | { readonly kind: "failed"; readonly error: StorageError; readonly until: number };

/** One tenant's place on this host: opened by its first use, kept while it is used, parked, and given away once. */
export class TenantSlot {
  readonly tenantId: string;
  readonly wakes: TenantWakes;
  readonly #options: SlotOptions;
  #state: SlotState;
  readonly #users: TenantUsers;
  readonly #backoff = new OpeningBackoff();
  readonly #leftover: Leftover;
  /** Something waits to be done or shipped here, although nobody asks. */
  #isWanted = false;
  #ended: StorageError | null = null;
  readonly #quarantine: CrashQuarantine;
  /** What ended the epoch that is just being opened. */
  #brokenAtOpening: Error | null = null;

  constructor(tenantId: string, options: SlotOptions, parked: Parked | null = null) {
    this.tenantId = tenantId;
    this.#options = options;
    this.#users = new TenantUsers(options.onUnused);
    this.#leftover = new Leftover(options.log);
    this.#state = parked === null ? { kind: "closed" } : { kind: "parked", parked };
    const { store, dataFolder } = options.storage;
    this.wakes = new TenantWakes(store, tenantId, parked?.due?.wake ?? null);
    this.#quarantine = new CrashQuarantine(new CrashNotes(store, dataFolder, tenantId), options.log);
  }

  get open(): HostedTenant | null {
    return this.#state.kind === "open" ? this.#state.tenant : null;
  }

  get hasFailed(): boolean {
    return this.#state.kind === "failed";
  }

  /** Whether the tenant is this host's, open or parked. */
  get isHere(): boolean {
    return this.#state.kind === "open" || this.#state.kind === "parked";
  }

  /** Whether this Machine may have what the store has not: then nobody should take the tenant over without need. */
  get keepsClaim(): boolean {
    return this.#isWanted || this.#leftover.isThere || this.open !== null;
  }

  get lastUsedAt(): number {
    return this.#users.lastAt;
  }

  /** Whether the tenant is open and could be parked now, used or not in a while. */
  get isParkable(): boolean {
    if (this.#state.kind !== "open" || !this.#users.areNone) return false;
    const { file, runs } = this.#state.tenant;
    return file.rounds.isCovered && runs.activity().running === 0;
  }

  /** What is left of a parked tenant that nobody waits for: all that must be kept of the slot. */
  get parked(): Parked | null {
    const isAlone = this.#users.areNone && !this.#quarantine.hasSpent;
    return isAlone && this.#state.kind === "parked" ? this.#state.parked : null;
  }

  get isForgettable(): boolean {
    if (!this.#users.areNone || this.#leftover.isThere || this.#isWanted) return false;
    // One that failed is remembered for as long as it would make the next opening wait longer.
    return (
      this.#state.kind === "closed" ||
      (this.#state.kind === "failed" && Date.now() >= this.#state.until + maxRetryMs)
    );
  }

  /** Throws ElsewhereError if the tenant is to be served by another host. */
  async use<T>(work: (tenant: HostedTenant) => Promise<T>, approach: Approach = {}): Promise<T> {
    return await this.#users.use(
      () => this.#acquire(approach),
      async (tenant) => {
        try {
          return await work(tenant);
        } catch (error) {
          throw databaseTrouble(this.tenantId, error);
        }
      },
    );
  }

  /** Opens the tenant if it is not open, or was not to be opened, and something waits to be done for it. */
  async look(): Promise<void> {
    const { kind } = this.#state;
    if (kind === "closed" || kind === "parked" || kind === "failed")
      await this.use(async () => {}, { rank: "background" });
  }

  /** What must be done from time to time: tries again what failed, and parks an idle tenant. */
  async keepHouse(idleMs: number): Promise<void> {
    const isDue =
      this.#state.kind === "closed" || (this.#state.kind === "failed" && Date.now() >= this.#state.until);
    const isDurable = this.#state.kind === "parked" || this.open?.file.rounds.isCovered === true;
    if (isDurable) void this.#quarantine.tidy();
    if (this.#isWanted && isDue) await this.look();
    else await this.#parkIfIdle(idleMs);
  }

  /** Parks the tenant if nobody has used it for `idleMs`, nothing runs, all is durable and no wake is near. */
  async #parkIfIdle(idleMs: number): Promise<void> {
    if (this.#state.kind !== "open" || this.#users.using > 0) return;
    const now = Date.now();
    if (!this.isParkable) this.#users.noteUse(now);
    if (now - this.lastUsedAt < idleMs) return;
    const { nextWakeAt } = this.#state.tenant.runs.activity();
    if (nextWakeAt !== null && nextWakeAt - now <= idleMs) return;
    await this.park();
  }

  /** Parks the tenant if it is parkable and the store answers: without it, parking would give the epoch up. */
  async park(): Promise<void> {
    if (this.#state.kind !== "open" || !this.isParkable) return;
    const { tenant, turn } = this.#state;
    const { lastUsedAt } = this;
    const isUsed = await tenant.file.durable().then(
      () => this.lastUsedAt !== lastUsedAt || !this.isParkable,
      () => true,
    );
    if (isUsed) return this.#users.noteUse(Date.now());
    if (this.open !== tenant) return;
    const { storage } = this.#options;
    const parked = async (): Promise<SlotState> => {
      return { kind: "parked", parked: await tenant.park(storage, () => this.#users.gone(usersGraceMs)) };
    };
    await this.#close(() => this.#letGo(tenant, "parked", parked), turn);
  }

  /** Gives a parked tenant away. */
  async release(): Promise<void> {
    if (this.#state.kind !== "parked") return;
    const { parked } = this.#state;
    await this.#close(async () => {
      await giveAway(parked, this.#options);
      return { kind: "closed" };
    });
  }

  /** Deletes the file of a tenant that is nobody's here, unless it holds what the store does not. */
  async evict(): Promise<Eviction> {
    if (this.#state.kind !== "closed" || !this.isForgettable) return "in-use";
    let isGone = false;
    await this.#close(async () => {
      isGone = await evictFile(this.#options.storage.dataFolder, this.tenantId).catch(() => false);
      return { kind: "closed" };
    });
    return isGone ? "deleted" : "kept";
  }

  /** Lets the tenant go for good: no use opens it again. Attempts under way may end within `graceMs`. */
  async end(graceMs: number): Promise<void> {
    this.#ended = new DrainingError();
    if (this.#state.kind === "opening") await this.#state.opening.catch(() => {});
    if (this.#state.kind === "closing") await this.#state.closing;
    if (this.#state.kind === "open") {
      const { tenant, turn } = this.#state;
      const released = async (): Promise<SlotState> => {
        this.#options.onReleased(await tenant.release(graceMs, () => this.#users.gone(usersGraceMs)));
        return { kind: "closed" };
      };
      await this.#close(() => this.#letGo(tenant, "released", released), turn);
    } else await this.release();
  }

  /** Drops the tenant without a word to the store: this host may not acknowledge anything any more. */
  fence(why: StorageError): void {
    this.#ended = why;
    this.#brokenAtOpening = why;
    if (this.#state.kind === "open") this.#drop(this.#state.tenant, why);
  }

  async #acquire(approach: Approach): Promise<HostedTenant> {
    for (;;) {
      if (this.#ended !== null) throw this.#ended;
      switch (this.#state.kind) {
        case "open":
          return this.#state.tenant;
        case "opening":
          if (approach.rank !== "background") this.#state.turn.promote();
          await this.#state.opening;
          break;
        case "closing":
          await this.#state.closing;
          break;
        case "failed":
        case "parked":
        case "closed":
          await this.#open(this.#state, approach);
          break;
        default:
          this.#state satisfies never;
      }
    }
  }

  async #open(before: SlotState, { rank = "client", farFromHome }: Approach): Promise<void> {
    if (before.kind === "failed" && Date.now() < before.until) throw before.error;
    const parked = before.kind === "parked" ? before.parked : null;
    const turn = this.#options.openings.enter(parked === null ? "claim" : "unpark", rank);
    const opening = turn.come.then(
      () => this.#tryToOpen(parked?.tenant ?? null, turn, farFromHome),
      (error: unknown) => {
        this.#state = before;
        throw error;
      },
    );
    this.#state = { kind: "opening", opening, turn };
    await opening;
  }

  async #tryToOpen(parked: ParkedTenant | null, turn: Turn, farFromHome?: FarFromHome): Promise<void> {
    try {
      const tenant = await this.#openFile(parked, farFromHome);
      turn.opened();
      this.#state = { kind: "open", tenant, turn };
      this.#isWanted = false;
      this.#users.noteUse(Date.now());
      if (parked === null) this.#lookForWakes(tenant);
      this.#backoff.opened(Date.now());
      this.#options.onOpened();
      if (this.#brokenAtOpening !== null) this.#drop(tenant, this.#brokenAtOpening);
    } catch (error) {
      turn.leave();
      if (error instanceof ParkedFileLostError) {
        this.#options.storage.onLocalLoss(this.tenantId, error.message);
        this.#state = { kind: "closed" };
        return;
      }
      if (error instanceof ElsewhereError) {
        // What waits here is done there.
        this.#isWanted = false;
        this.#state = { kind: "closed" };
        this.#options.onElsewhere();
        throw error;
      }
      const known = unavailable(this.tenantId, error);
      const retryMs = this.#backoff.failed();
      this.#state = { kind: "failed", error: known, until: Date.now() + retryMs };
      this.#options.log.error({ err: error, tenant: this.tenantId, retryMs }, "a tenant could not be opened");
      throw known;
    }
  }

  /**
   * Where somebody else has left wakes of unfinished runs, nobody would know to delete them with the runs. Those of a tenant that
   * could not be opened may be postponed, for no reason any more.
   */
  #lookForWakes({ file, runs }: HostedTenant): void {
    const areUnknown = !this.wakes.areKnown && (!file.followsRelease || runs.unfinished > 0);
    if (areUnknown || this.#backoff.hasFailed) this.#options.onWakesUnknown();
  }

  async #openFile(parked: ParkedTenant | null, farFromHome?: FarFromHome): Promise<HostedTenant> {
    await this.#leftover.letGo();
    if (this.#ended !== null) throw this.#ended;
    this.#brokenAtOpening = null;
    const tenant = await openHosted(this.tenantId, parked, {
      ...this.#options,
      ...(farFromHome === undefined ? {} : { farFromHome }),
      wakes: this.wakes,
      quarantine: this.#quarantine,
      onBroken: (error) => {
        if (this.#state.kind === "opening") this.#brokenAtOpening ??= error;
        else this.#drop(tenant, error);
      },
      abandon: (broken, why) => this.#leftover.abandon(broken, unavailable(this.tenantId, why)),
    });
    return tenant;
  }

  /** `work` gives what the slot is afterwards, and does not throw. */
  async #close(work: () => Promise<SlotState>, turn?: Turn): Promise<void> {
    const closing = work().then((next) => {
      this.#state = next;
      if (next.kind === "parked") this.#options.onParked(this, next.parked.due);
      turn?.leave();
    });
    this.#state = { kind: "closing", closing };
    await closing;
  }

  async #letGo(tenant: HostedTenant, how: string, work: () => Promise<SlotState>): Promise<SlotState> {
    const facts = { tenant: this.tenantId, epoch: tenant.file.epoch };
    try {
      const next = await work();
      this.#options.log.info({ event: `tenant.${how}`, ...facts }, `tenant ${how}`);
      return next;
    } catch (error) {
      // Nothing acknowledged is at stake: the claim and the file stay, and the next opening goes on from them.
      this.#options.log.error({ err: error, ...facts }, `a tenant could not be ${how}; its file is kept`);
      this.#isWanted = true;
      await this.#leftover.abandon(tenant, unavailable(this.tenantId, error));
      return { kind: "closed" };
    }
  }

  /** The epoch is over for this host; unfinished runs go on in the next one, at once unless that happens again and again. */
  #drop(tenant: HostedTenant, why: Error): void {
    if (this.#state.kind !== "open" || this.#state.tenant !== tenant) return;
    this.#options.log.error(
      { err: why, tenant: this.tenantId, epoch: tenant.file.epoch },
      "an epoch was given up",
    );
    this.#isWanted = true;
    void this.#close(async () => {
      await this.#leftover.abandon(tenant, why);
      const retryMs = this.#backoff.dropped(Date.now());
      if (retryMs === 0) return { kind: "closed" };
      return { kind: "failed", error: unavailable(this.tenantId, why), until: Date.now() + retryMs };
    }, this.#state.turn);
  }
}
