import type { EngineLog } from "../engine/log.ts";
import type { ObjectStore } from "../storage/object-store.ts";
import { DrainingError, TenantUnavailableError } from "../storage/errors.ts";
import { isForgotten, listPostponed, postpone, wakesToServe, type Postponed } from "../storage/postponed.ts";
import { sideBySide } from "../storage/side-by-side.ts";
import { allWakes, type Wake } from "../storage/wakes.ts";
import type { WakeCounts } from "./host.ts";

/** Wakes are looked at so often, as other hosts may have left some; one that failed is looked at again sooner. */
const scanEveryMs = 60_000;
const rescanAfterFailureMs = 5_000;
/** So many tenants are opened at a time. */
const openAtOnce = 4;

export interface WakeWatchOptions {
  readonly store: ObjectStore;
  readonly log: EngineLog;
  /** Opens the wake's tenant unless it is open; rejects if it cannot be opened now. `keys` are all its wakes that are known. */
  readonly wake: (wake: Wake, keys: readonly string[]) => Promise<void>;
  /** Told at each look of every wake that there is, due or not, before any is served. */
  readonly onSeen: (wakes: readonly Wake[]) => void;
  /** Whether the tenant is this host's: what is open is not broken. */
  readonly isHere: (tenantId: string) => boolean;
  /** Whether the store answers, as far as is known: without it no failure is a tenant's own. */
  readonly isStoreUp: () => boolean;
}

/** Nobody knows what is due. */
export class WakesUnknownError extends Error {
  override readonly name = "WakesUnknownError";
  readonly code = "store_unavailable";
  constructor(cause: unknown) {
    super("The wakes in the store could not be listed. Repeat the request.", { cause });
  }
}

/**
 * Looks for tenants with unfinished work that is due, at the start and then once a minute, so that runs go on although
 * their host died and nobody calls.
 */
export class WakeWatch {
  readonly #options: WakeWatchOptions;
  #timer: NodeJS.Timeout | null = null;
  /** The look that is under way; never rejects. */
  #scanning: Promise<void> | null = null;
  /** The one that follows it, for all who have asked since it was sent. */
  #following: Promise<WakeCounts> | null = null;
  /** The listing without service that is under way, and whether somebody has asked since it was sent; never rejects. */
  #seeing: Promise<void> | null = null;
  #isAskedAgain = false;
  /** By the wake's key: a tenant may have several, and each is served at its time. */
  readonly #timers = new Map<string, NodeJS.Timeout>();
  #stopped = false;

  constructor(options: WakeWatchOptions) {
    this.#options = options;
  }

  start(): void {
    void this.scan().catch(() => {});
  }

  /**
   * Looks at the store at once, and serves what is due. A look that was sent before the call does not count: it may have
   * missed what the caller knows of, so another one follows it. Throws WakesUnknownError, DrainingError.
   */
  scan(): Promise<WakeCounts> {
    if (this.#stopped) return Promise.reject(new DrainingError());
    if (this.#scanning === null) return this.#begin();
    this.#following ??= this.#scanning.then(() => {
      this.#following = null;
      if (this.#stopped) throw new DrainingError();
      return this.#begin();
    });
    return this.#following;
  }

  /** Tells of all wakes that stand now, and serves none: that would ask the store for every tenant with unfinished work. */
  see(): void {
    this.#isAskedAgain = this.#seeing !== null;
    if (this.#stopped || this.#seeing !== null) return;
    this.#seeing = this.#list()
      .then(({ postponed }) => this.#forget(postponed))
      // Else the next look tells.
      .catch(() => {})
      .then(() => {
        this.#seeing = null;
        if (this.#isAskedAgain) this.see();
      });
  }

  /** Wakes the tenant at `at`, if that is before the next look at the store would find it. */
  expect(wake: Wake): void {
    const inMs = wake.at - Date.now();
    if (this.#stopped || inMs > 2 * scanEveryMs) return;
    clearTimeout(this.#timers.get(wake.key));
    const timer = setTimeout(
      () => {
        this.#timers.delete(wake.key);
        void this.#serve(wake);
      },
      Math.max(0, inMs),
    );
    this.#timers.set(wake.key, timer);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    for (const timer of this.#timers.values()) clearTimeout(timer);
    if (this.#timer !== null) clearTimeout(this.#timer);
    await Promise.all([this.#scanning, this.#seeing]);
  }

  #begin(): Promise<WakeCounts> {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    const counts = this.#wakeAllDue().catch((error: unknown) => {
      this.#options.log.warn({ err: error }, "the wakes in the store could not be listed");
      throw new WakesUnknownError(error);
    });
    this.#scanning = counts
      .then(
        ({ due, served }) => due === served,
        () => false,
      )
      .then((isDone) => {
        this.#scanning = null;
        if (this.#stopped) return;
        this.#timer = setTimeout(() => this.start(), isDone ? scanEveryMs : rescanAfterFailureMs);
      });
    return counts;
  }

  /** What is due before the next scan is served in its minute. */
  async #wakeAllDue(): Promise<WakeCounts> {
    const now = Date.now();
    const { wakes, postponed } = await this.#list();
    const near = wakesToServe(wakes, postponed, { now, until: now + scanEveryMs });
    for (const wake of near) if (wake.at > now) this.expect(wake);
    const due = near.filter(({ at }) => at <= now);
    const keys = Map.groupBy(wakes, ({ tenantId }) => tenantId);
    const tenants = new Set(due.map(({ tenantId }) => tenantId));
    const unserved = new Set<string>();
    await sideBySide(due, openAtOnce, async (wake) => {
      const known = keys.get(wake.tenantId)?.map(({ key }) => key);
      if (this.#stopped || !(await this.#serve(wake, known))) unserved.add(wake.tenantId);
    });
    const served = new Set([...tenants].filter((tenantId) => !unserved.has(tenantId)));
    await this.#forget(postponed, served);
    return { due: tenants.size, served: served.size };
  }

  async #list(): Promise<{ readonly wakes: readonly Wake[]; readonly postponed: readonly Postponed[] }> {
    const { store, log, onSeen } = this.#options;
    const listing = listPostponed(store).catch((error: unknown): readonly Postponed[] => {
      log.warn({ err: error }, "it is not known which tenants' wakes are postponed: none is taken to be");
      return [];
    });
    const [wakes, postponed] = await Promise.all([allWakes(store), listing]);
    onSeen(wakes);
    return { wakes, postponed };
  }

  /** Of those that are open by now, and those that nobody heeds any more, no entry stays; what fails is done by the next look. */
  async #forget(postponed: readonly Postponed[], served: ReadonlySet<string> = new Set()): Promise<void> {
    const { store, isHere } = this.#options;
    const now = Date.now();
    for (const entry of postponed)
      if (served.has(entry.tenantId) || isHere(entry.tenantId) || isForgotten(entry, now))
        await store.delete(entry.key).catch(() => {});
  }

  async #serve(wake: Wake, keys: readonly string[] = [wake.key]): Promise<boolean> {
    try {
      await this.#options.wake(wake, keys);
      return true;
    } catch (error) {
      this.#options.log.warn(
        { err: error, tenant: wake.tenantId },
        "a tenant that is due could not be opened",
      );
      await this.#postpone(wake, error).catch((failed: unknown) =>
        this.#options.log.warn({ err: failed, tenant: wake.tenantId }, "its wakes could not be postponed"),
      );
      return false;
    }
  }

  /** What does not mend itself stays so until somebody does: a host that is started for it every minute does not. */
  async #postpone({ tenantId }: Wake, error: unknown): Promise<void> {
    const { store, log, isStoreUp } = this.#options;
    if (!(error instanceof TenantUnavailableError) || !error.lasts || !isStoreUp()) return;
    const until = await postpone(store, tenantId, Date.now());
    const facts = { event: "wake.postponed", tenant: tenantId, until: new Date(until).toISOString() };
    log.warn(facts, "a damaged tenant is not opened for its wakes for a while");
  }
}
