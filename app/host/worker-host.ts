import { setTimeout as sleep } from "node:timers/promises";
import type { FarFromHome } from "../storage/claim.ts";
import { DrainingError, ElsewhereError, TenantUnavailableError, type Holder } from "../storage/errors.ts";
import { RestorePoints } from "../storage/restore-points.ts";
import { FencedError } from "../storage/host-record.ts";
import type { Wake } from "../storage/wakes.ts";
import type { Arrived, Host, Readiness, Tenant, TenantStatus, WakeCounts } from "./host.ts";
import type { HostedTenant } from "./hosted-tenant.ts";
import { GuardedClock } from "./guarded-clock.ts";
import { IdleWatch } from "./idle-watch.ts";
import { JumpGuard, systemClocks, type Clocks } from "./jump-guard.ts";
import { Routes } from "./routes.ts";
import { TenantPlaces, type TenantPlacesOptions } from "./tenant-places.ts";
import { statusOf } from "./tenant-status.ts";
import { unavailableStatus } from "./unavailable-status.ts";
import { WakeWatch } from "./wake-watch.ts";

export interface WorkerHostOptions extends Omit<TenantPlacesOptions, "clock"> {
  /** Whether the way to a region starts a Machine there, as Fly's proxy does; otherwise one must live. */
  readonly regionsStart: boolean;
  /** A host that nobody has asked for anything for so long, and that has nothing to do soon, is told to end; null: never. */
  readonly exitIdleMs: number | null;
  readonly onIdle: () => void;
  /** By default the system's. */
  readonly clocks?: Clocks;
}

/** Attempts under way get so long to reach their end when the host stops. */
const drainGraceMs = 10_000;
/**
 * So long parked tenants are given away. `main.ts` cuts a drain off later: a host that has not said by then that it is over
 * keeps all who come for its tenants waiting for its ttl.
 */
const releaseParkedMs = 18_000;
/** Where a tenant is, is remembered so long. What Fly's proxy was told to replay, and where it failed, this host does not see. */
const freshRouteMs = 10_000;
const freshRouteOnFlyMs = 2_000;
/** How long a status page waits for a tenant that is being opened. */
const statusWaitMs = 3_000;
/** Beyond this a host says that it is not ready. */
const unreadyAfterMs = 30_000;

/** The tenants that are open on this host: one process, from its start to its end. */
export class WorkerHost implements Host {
  readonly id: string;
  readonly #options: WorkerHostOptions;
  readonly #places: TenantPlaces;
  readonly #routes: Routes;
  readonly #wakes: WakeWatch;
  readonly #restorePoints: RestorePoints;
  readonly #jumps: JumpGuard;
  readonly #idle: IdleWatch | null;
  readonly #housekeeping: NodeJS.Timeout;
  readonly #stopListening: () => void;
  #state: "serving" | "draining" | "fenced" = "serving";

  constructor(options: WorkerHostOptions) {
    this.#options = options;
    const { storage, log } = options;
    this.id = storage.hostRecord.identity.id;
    const clocks = options.clocks ?? systemClocks;
    const clock = new GuardedClock(() => this.#jumps.check());
    this.#jumps = new JumpGuard(
      clocks,
      () => storage.hostRecord.proof(),
      () => {
        log.warn({ event: "clock.jumped" }, "the clock has jumped; this host has proved itself since");
        clock.jumped();
      },
    );
    this.#places = new TenantPlaces(
      { ...options, clock },
      {
        onDue: (tenantId, { at, wake }) => this.#wakes.expect({ tenantId, key: wake, at }),
        onWakesUnknown: () => this.#wakes.see(),
      },
    );
    const { exitIdleMs, onIdle } = options;
    const { store } = storage;
    const nextDue = (): number => this.#places.nextDue();
    this.#idle =
      exitIdleMs === null
        ? null
        : new IdleWatch({ exitIdleMs, hostId: this.id, store, clocks, nextDue, onIdle });
    this.#wakes = new WakeWatch({
      store,
      log,
      wake: (wake, keys) => this.#wake(wake, keys),
      onSeen: (wakes) => this.#places.adopt(wakes),
      isHere: (tenantId) => this.#places.isHere(tenantId),
      isStoreUp: () => storage.hostRecord.trouble === null,
    });
    this.#routes = new Routes(storage.peers, {
      freshForMs: options.regionsStart ? freshRouteOnFlyMs : freshRouteMs,
      onLost: () => this.#wakes.start(),
    });
    this.#restorePoints = new RestorePoints({ ...storage, log });
    this.#wakes.start();
    this.#housekeeping = setInterval(
      () => this.#keepHouse(),
      Math.min(1_000, Math.max(50, options.idleMs / 4)),
    );
    this.#stopListening = storage.litestream.onRestart(() => void this.#registerAgain());
  }

  attend(): () => void {
    return this.#idle?.request() ?? ((): void => {});
  }

  async use<T>(
    tenantId: string,
    work: (tenant: Tenant) => Promise<T>,
    arrived: Arrived = "first",
  ): Promise<T> {
    if (this.#state !== "serving") throw new DrainingError();
    const answered = this.attend();
    try {
      await this.#jumps.check();
      const known = arrived === "first" && !this.#places.isHere(tenantId) ? this.#routes.of(tenantId) : null;
      if (known !== null) throw new ElsewhereError(tenantId, known);
      return await this.#places.slot(tenantId).use(work, { farFromHome: this.#farFromHome(arrived) });
    } catch (error) {
      if (error instanceof ElsewhereError && error.why === "holder" && error.holder !== null)
        this.#noteHolder(tenantId, error.holder);
      throw this.#restorePoints.explain(tenantId, error);
    } finally {
      answered();
    }
  }

  async status(tenantId: string, arrived?: Arrived): Promise<TenantStatus> {
    const waiting = new AbortController();
    const late = sleep(statusWaitMs, undefined, { signal: waiting.signal }).then(() =>
      unavailableStatus(tenantId, "It is still being opened."),
    );
    const { hostRecord } = this.#options.storage;
    const tell = (tenant: Tenant): Promise<TenantStatus> =>
      statusOf(tenant as HostedTenant, { hostId: this.id, trouble: hostRecord.trouble });
    const told = this.use(tenantId, tell, arrived);
    try {
      return await Promise.race([told, late]);
    } catch (error) {
      if (error instanceof ElsewhereError) throw error;
      const restorePoint = error instanceof TenantUnavailableError ? error.restorePoint : null;
      return { ...unavailableStatus(tenantId, (error as Error).message), restorePoint };
    } finally {
      late.catch(() => {});
      waiting.abort();
    }
  }

  noteUnreachable(hostId: string, how: "refused" | "silent"): void {
    this.#routes.forget(hostId);
    if (how === "refused") this.#options.storage.peers.noteRefused(hostId);
  }

  lost(hostId: string, signal: AbortSignal): Promise<void> {
    return this.#options.storage.peers.lost(hostId, signal);
  }

  async anotherHost(): Promise<Holder | null> {
    return await this.#routes.any().catch(() => null);
  }

  wakeDue(): Promise<WakeCounts> {
    return this.#wakes.scan();
  }

  readiness(): Readiness {
    const { litestream, hostRecord } = this.#options.storage;
    const lagMs = this.replicationLagMs();
    const checks = [
      { name: "serving", ok: this.#state === "serving", detail: this.#state },
      { name: "litestream", ok: litestream.state.kind === "up", detail: litestream.state.kind },
      { name: "store", ok: hostRecord.trouble === null, detail: hostRecord.trouble ?? "reachable" },
      {
        name: "replication",
        ok: lagMs < unreadyAfterMs,
        detail: `oldest undurable write is ${lagMs} ms old`,
      },
    ];
    return { ready: checks.every(({ ok }) => ok), checks };
  }

  /** Age of the oldest write on this host that is not durable yet, in milliseconds; 0 when everything is. */
  replicationLagMs(): number {
    const oldest = this.openTenants().flatMap(({ file }) => file.rounds.oldestUndurableAt ?? []);
    return oldest.length === 0 ? 0 : Math.max(0, Date.now() - Math.min(...oldest));
  }

  parkedTenants(): number {
    return this.#places.parked;
  }

  /** Openings that wait for their turn. */
  waitingOpenings(): number {
    return this.#places.waiting;
  }

  /** Files that were deleted because the disk's bound was reached. */
  evictions(): number {
    return this.#places.evictions;
  }

  /** How many tenants could not be opened the last time that was tried. */
  unavailableTenants(): number {
    return this.#places.unavailable;
  }

  openTenants(): readonly HostedTenant[] {
    return this.#places.open();
  }

  /** Opens, one after the other, the tenants that an earlier life of this host left, so that what it had not shipped is. */
  async takeUp(tenantIds: readonly string[]): Promise<void> {
    for (const tenantId of tenantIds) {
      if (this.#state !== "serving") return;
      await this.#places
        .slot(tenantId)
        .look()
        .catch((error: unknown) => {
          if (error instanceof ElsewhereError) return;
          const facts = { err: error, tenant: tenantId };
          this.#options.log.warn(facts, "a tenant of an earlier life could not be opened");
        });
    }
  }

  /** Takes no more work, lets every tenant go and says so to the store. What cannot be released is kept as it is. */
  async drain(): Promise<void> {
    if (this.#state !== "serving") return;
    this.#state = "draining";
    this.#stopHousekeeping();
    this.#routes.stop();
    const { hostRecord } = this.#options.storage;
    // Side by side: a store that does not answer must not take the time that attempts have to reach their end.
    const [mayRetire] = await Promise.all([
      this.#places.end({ graceMs: drainGraceMs, late: AbortSignal.timeout(releaseParkedMs) }),
      hostRecord.drain(),
      this.#wakes.stop(),
    ]);
    const { parked } = this.#places;
    if (parked > 0)
      this.#options.log.warn(
        { event: "drain.late", parked },
        "there was no time to give all parked tenants away",
      );
    // One that keeps what the store has not must not give up its record: whoever takes that tenant over fences it first.
    if (mayRetire) await hostRecord.retire();
    else await hostRecord.stop();
  }

  /** Drops everything at once: another host may acknowledge now, so this one may not. */
  fence(): void {
    this.#state = "fenced";
    this.#stopHousekeeping();
    this.#routes.stop();
    void this.#wakes.stop();
    this.#places.fence(new DrainingError(new FencedError().message));
  }

  /** Whoever has the tenant of a wake, and lives, looks after it; when that host is lost, its wakes are looked at again. */
  async #wake({ tenantId, key }: Wake, keys: readonly string[]): Promise<void> {
    if (this.#state !== "serving") throw new DrainingError();
    const later = this.#places.dueLater(tenantId, key);
    if (later !== null) return this.#wakes.expect({ tenantId, key, at: later });
    const slot = this.#places.slot(tenantId);
    for (const one of keys) slot.wakes.adopt(one);
    try {
      await slot.look();
    } catch (error) {
      if (!(error instanceof ElsewhereError) || error.holder === null) throw error;
      this.#routes.watch(error.holder.hostId);
    }
  }

  #noteHolder(tenantId: string, holder: Holder): void {
    const { address } = this.#options.storage.hostRecord.identity;
    if (holder.address === address)
      this.#options.log.warn(
        { tenant: tenantId, holder: holder.hostId, address },
        "another host tells this one's own address, so that requests cannot reach it: set HOLDFAST_ADVERTISE on each",
      );
    this.#routes.note(tenantId, holder);
  }

  #farFromHome(arrived: Arrived): FarFromHome {
    if (arrived === "forwarded") return "always";
    return this.#options.regionsStart ? "never" : "unless-served";
  }

  #keepHouse(): void {
    this.#places.keepHouse();
    this.#jumps.check()?.catch(() => {});
    void this.#idle?.look();
  }

  #stopHousekeeping(): void {
    clearInterval(this.#housekeeping);
    this.#stopListening();
    this.#restorePoints.stop();
  }

  async #registerAgain(): Promise<void> {
    for (const { file } of this.openTenants()) {
      await file.replica.registerAgain().catch((error: unknown) => {
        this.#options.log.warn(
          { err: error, tenant: file.id },
          "Litestream did not take a file again; its next round tries",
        );
      });
    }
  }
}
