import { stat } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import type { FarFromHome } from "../storage/claim.ts";
import { DrainingError, ElsewhereError, TenantUnavailableError, type Holder } from "../storage/errors.ts";
import { RestorePoints } from "../storage/restore-points.ts";
import { FencedError } from "../storage/host-record.ts";
import { wakeKey, type Wake } from "../storage/wakes.ts";
import type { Arrived, Host, Readiness, Tenant, TenantStatus, WakeCounts } from "./host.ts";
import type { HostedTenant } from "./hosted-tenant.ts";
import { Routes } from "./routes.ts";
import { TenantSlot, type SlotOptions } from "./tenant-slot.ts";
import { unavailableStatus } from "./unavailable-status.ts";
import { WakeWatch } from "./wake-watch.ts";

export interface WorkerHostOptions extends Omit<SlotOptions, "onReleased"> {
  /** A tenant that nobody has used for so long is let go. */
  readonly idleMs: number;
  /** Whether the way to a region starts a Machine there, as Fly's proxy does; otherwise one must live. */
  readonly regionsStart: boolean;
}

/** Attempts under way get so long to reach their end when the host stops. */
const drainGraceMs = 10_000;
/** Where a tenant is, is remembered so long. What Fly's proxy was told to replay, and where it failed, this host does not see. */
const freshRouteMs = 10_000;
const freshRouteOnFlyMs = 2_000;
/** How long a status page waits for a tenant that is being opened. */
const statusWaitMs = 3_000;
/** A write that is not durable after so long shows as late. */
const lateAfterMs = 5_000;
/** Beyond this a host says that it is not ready. */
const unreadyAfterMs = 30_000;

/** The tenants that are open on this host: one process, from its start to its end. */
export class WorkerHost implements Host {
  readonly id: string;
  readonly #options: WorkerHostOptions;
  readonly #slots = new Map<string, TenantSlot>();
  readonly #routes: Routes;
  readonly #wakes: WakeWatch;
  readonly #restorePoints: RestorePoints;
  readonly #housekeeping: NodeJS.Timeout;
  readonly #stopListening: () => void;
  #state: "serving" | "draining" | "fenced" = "serving";

  constructor(options: WorkerHostOptions) {
    this.#options = options;
    const { storage, log } = options;
    this.id = storage.hostRecord.identity.id;
    this.#wakes = new WakeWatch({ store: storage.store, log, wake: (wake) => this.#wake(wake) });
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

  async use<T>(
    tenantId: string,
    work: (tenant: Tenant) => Promise<T>,
    arrived: Arrived = "first",
  ): Promise<T> {
    if (this.#state !== "serving") throw new DrainingError();
    const slot = this.#slot(tenantId);
    const known = arrived === "first" && slot.open === null ? this.#routes.of(tenantId) : null;
    if (known !== null) throw new ElsewhereError(tenantId, known);
    try {
      return await slot.use(work, this.#farFromHome(arrived));
    } catch (error) {
      if (error instanceof ElsewhereError && error.why === "holder" && error.holder !== null)
        this.#routes.note(tenantId, error.holder);
      throw this.#restorePoints.explain(tenantId, error);
    }
  }

  async status(tenantId: string, arrived?: Arrived): Promise<TenantStatus> {
    const waiting = new AbortController();
    const late = sleep(statusWaitMs, undefined, { signal: waiting.signal }).then(() =>
      unavailableStatus(tenantId, "It is still being opened."),
    );
    const told = this.use(tenantId, (tenant) => this.#statusOf(tenant as HostedTenant), arrived);
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

  /** How many tenants could not be opened the last time that was tried. */
  unavailableTenants(): number {
    return [...this.#slots.values()].filter(({ hasFailed }) => hasFailed).length;
  }

  openTenants(): readonly HostedTenant[] {
    return [...this.#slots.values()].flatMap(({ open }) => open ?? []);
  }

  /** Opens, one after the other, the tenants that an earlier life of this host left, so that what it had not shipped is. */
  async takeUp(tenantIds: readonly string[]): Promise<void> {
    for (const tenantId of tenantIds) {
      if (this.#state !== "serving") return;
      await this.#slot(tenantId)
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
    const slots = [...this.#slots.values()];
    // Side by side: a store that does not answer must not take the time that attempts have to reach their end.
    await Promise.all([
      hostRecord.drain(),
      this.#wakes.stop(),
      ...slots.map((slot) => slot.end(drainGraceMs)),
    ]);
    // One that keeps a tenant must not give up its record: whoever takes that tenant over fences it first.
    if (slots.every(({ keepsClaim }) => !keepsClaim)) await hostRecord.retire();
    else await hostRecord.stop();
  }

  /** Drops everything at once: another host may acknowledge now, so this one may not. */
  fence(): void {
    this.#state = "fenced";
    this.#stopHousekeeping();
    this.#routes.stop();
    void this.#wakes.stop();
    for (const slot of this.#slots.values()) slot.fence(new DrainingError(new FencedError().message));
  }

  /** Whoever has the tenant of a wake, and lives, looks after it; when that host is lost, its wakes are looked at again. */
  async #wake({ tenantId, key }: Wake): Promise<void> {
    if (this.#state !== "serving") throw new DrainingError();
    const slot = this.#slot(tenantId);
    slot.wakes.adopt(key);
    try {
      await slot.look();
    } catch (error) {
      if (!(error instanceof ElsewhereError) || error.holder === null) throw error;
      this.#routes.watch(error.holder.hostId);
    }
  }

  #farFromHome(arrived: Arrived): FarFromHome {
    if (arrived === "forwarded") return "always";
    return this.#options.regionsStart ? "never" : "unless-served";
  }

  #slot(tenantId: string): TenantSlot {
    const known = this.#slots.get(tenantId);
    if (known !== undefined) return known;
    const onReleased = (due: number | null): void => {
      if (due !== null) this.#wakes.expect({ tenantId, key: wakeKey(tenantId, due), at: due });
    };
    const slot = new TenantSlot(tenantId, { ...this.#options, onReleased });
    this.#slots.set(tenantId, slot);
    return slot;
  }

  #keepHouse(): void {
    for (const [tenantId, slot] of this.#slots) {
      if (slot.isForgettable) this.#slots.delete(tenantId);
      slot.open?.ensureWake().catch(() => {});
      slot.keepHouse(this.#options.idleMs).catch(() => {});
    }
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

  async #statusOf(tenant: HostedTenant): Promise<TenantStatus> {
    const { file } = tenant;
    const { rounds } = file;
    const error = rounds.lastError ?? this.#options.storage.hostRecord.trouble;
    const oldest = rounds.oldestUndurableAt;
    const late = oldest !== null && Date.now() - oldest > lateAfterMs;
    return {
      id: tenant.id,
      state: "open",
      reason: null,
      epoch: file.epoch,
      host: this.id,
      region: file.region,
      sizeBytes: await sizeOf(file.path),
      runs: await tenant.journal.countRunsByStatus(),
      restorePoint: null,
      replication: {
        state: error !== null ? "failing" : late ? "late" : "ok",
        oldestUndurableAt: oldest,
        lastDurableAt: rounds.lastPassedAt,
        error,
      },
    };
  }
}

/** Of the database and of what its WAL holds beside it. */
async function sizeOf(path: string): Promise<number> {
  const sizes = [path, `${path}-wal`].map((part) =>
    stat(part).then(
      ({ size }) => size,
      () => 0,
    ),
  );
  return (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0);
}
