import { openTenant, type OpenTenant, type StoragePorts } from "../../app/storage/open-tenant.ts";
import { ElsewhereError } from "../../app/storage/errors.ts";
import {
  ParkedFileLostError,
  parkTenant,
  releaseParked,
  unparkTenant,
  type ParkedTenant,
} from "../../app/storage/park.ts";
import { pruneTenant } from "../../app/storage/pruning.ts";
import type { ObjectStore } from "../../app/storage/object-store.ts";
import { RecordChangedError } from "../../app/storage/records.ts";
import { VoidRegistrationError, type Replica } from "../../app/storage/replica.ts";
import { TenantWakes, type Wake } from "../../app/storage/wakes.ts";
import type { Broken } from "./broken.ts";
import { allOf } from "./memory-connection.ts";
import { EndedError } from "./refusal.ts";
import type { Actor, Schedule } from "./schedule.ts";
import { isUnfinished } from "./unfinished.ts";
import { textOf, type Witness } from "./witness.ts";

export interface SlotParts {
  readonly actor: Actor;
  readonly schedule: Schedule;
  readonly witness: Witness;
  readonly broken: Broken;
  readonly store: ObjectStore;
  /** Epoch milliseconds by the host's clock. */
  readonly now: () => number;
  /** Null until the host has a record. */
  readonly storage: () => StoragePorts | null;
  /** Whether nothing is opened any more. */
  readonly ended: () => boolean;
  /** Notes that something was refused, for a reason that storage knows; anything else is a violation. */
  readonly refuse: (what: string, error: unknown) => void;
}

type State =
  | { readonly kind: "closed" }
  | { readonly kind: "parked"; readonly parked: ParkedTenant; readonly wake: string | null }
  | { readonly kind: "opening"; readonly opening: Promise<void> }
  | { readonly kind: "open"; readonly tenant: OpenTenant }
  | { readonly kind: "closing"; readonly closing: Promise<void> };

/** One tenant's place on a host: what the host's TenantSlot does, as far as storage can see it. */
export class ModelSlot {
  readonly tenantId: string;
  readonly #parts: SlotParts;
  #state: State = { kind: "closed" };
  /** Something waits to be shipped here. */
  #isWanted = false;
  #leftover: Replica | null = null;
  #users = 0;
  #asked = 0;
  #isStopping = false;
  #closings = 0;
  #wakes: TenantWakes;
  #older: OpenTenant | null = null;
  #onUnused = (): void => {};

  constructor(tenantId: string, parts: SlotParts) {
    this.tenantId = tenantId;
    this.#parts = parts;
    this.#wakes = this.#newWakes(null);
  }

  get tenant(): OpenTenant | null {
    return this.#state.kind === "open" ? this.#state.tenant : null;
  }

  /** Whether this Machine may have what the store has not. */
  get keepsClaim(): boolean {
    return this.#isWanted || this.#leftover !== null || this.tenant !== null;
  }

  /** Whether nobody here uses its file, Litestream neither. */
  get isAtRest(): boolean {
    return this.#leftover === null && (this.#state.kind === "parked" || this.#state.kind === "closed");
  }

  /** A client's request: a write if one is given, else a read. True if it was answered. */
  async request(write: string | null): Promise<boolean> {
    const { schedule, witness, actor, refuse } = this.#parts;
    const begun = witness.begin();
    try {
      const tenant = await this.#acquire();
      const content = await this.#use(tenant, write);
      const what = `${write ?? "a read"} with ${textOf(content)} in epoch ${tenant.epoch}`;
      await schedule.step(actor, `answers ${what}`);
      witness.told({ host: actor.name, epoch: tenant.epoch, content, begun });
      return true;
    } catch (error) {
      refuse(write ?? "a read", error);
      return false;
    }
  }

  /** Parks the tenant, if it is open, nobody uses it and all of it is durable. */
  async park(): Promise<void> {
    const { tenant } = this;
    if (tenant === null || !this.#isParkable(tenant)) return;
    try {
      await tenant.durable();
    } catch {
      return;
    }
    const storage = this.#parts.storage();
    if (storage === null || this.#parts.ended()) return;
    if (this.tenant !== tenant || !this.#isParkable(tenant)) return;
    const parked = async (): Promise<State> => {
      const due = await this.#stopWork(tenant);
      let wake: string | null = null;
      const left = await parkTenant(tenant, storage, async () => {
        wake = await this.#wakes.settle(due);
      });
      return { kind: "parked", parked: left, wake };
    };
    await this.#close(() => this.#letGo(tenant, "parked", parked));
  }

  /** Gives the tenant away, if it is this host's. */
  async release(): Promise<void> {
    const storage = this.#parts.storage();
    if (this.#state.kind === "open") {
      const { tenant } = this.#state;
      const closed = async (): Promise<State> => {
        const due = await this.#stopWork(tenant);
        await this.#unused();
        await tenant.release(async () => void (await this.#wakes.settle(due)));
        return { kind: "closed" };
      };
      await this.#close(() => this.#letGo(tenant, "released", closed));
    } else if (this.#state.kind === "parked" && storage !== null) {
      const { parked } = this.#state;
      await this.#close(() => this.#releaseParked(parked, storage));
    }
  }

  /** A wake stands in the store, whoever has put it: it goes with the tenant's work, if that is here. */
  see({ key }: Wake): void {
    if (this.#state.kind === "open") this.#wakes.adopt(key);
  }

  /** Opens the tenant, unless it is open: it has work which is due. */
  async serve({ key }: Wake): Promise<void> {
    this.#wakes.adopt(key);
    const { kind } = this.#state;
    if (kind !== "closed" && kind !== "parked") return;
    try {
      const tenant = await this.#acquire();
      await this.#gate(tenant, await tenant.connection.read(allOf));
    } catch (error) {
      this.#parts.refuse("a wake", error);
    }
  }

  /** Deletes what is older than `historyMs` by this host's clock. */
  async prune(historyMs: number): Promise<void> {
    const { tenant } = this;
    const { broken, schedule, actor, storage, refuse } = this.#parts;
    const ports = storage();
    if (tenant === null || ports === null) return;
    const { store, now } = ports;
    try {
      const record = broken.prunes?.(tenant.record) ?? tenant.record;
      const pruned = await pruneTenant(record, { store, now: now(), historyMs });
      schedule.note(`${actor.name} has pruned ${pruned.epochs} epochs, ${pruned.objects} objects`);
    } catch (error) {
      refuse("a pruning", error);
    }
  }

  /** Lets the tenant go for good. */
  async end(): Promise<void> {
    if (this.#state.kind === "opening") await this.#state.opening.catch(() => {});
    if (this.#state.kind === "closing") await this.#state.closing;
    await this.release();
  }

  /** The epoch is over for this host. */
  drop(why: Error): void {
    if (this.#state.kind === "open") this.#drop(this.#state.tenant, why);
  }

  async registerAgain(): Promise<void> {
    await this.tenant?.replica.registerAgain();
  }

  async #acquire(): Promise<OpenTenant> {
    for (;;) {
      const storage = this.#parts.storage();
      if (storage === null || this.#parts.ended()) throw new EndedError();
      if (this.#state.kind === "open") {
        const tenant = this.#stillOpen(this.#state.tenant);
        if (tenant !== null) return tenant;
      }
      if (this.#state.kind === "opening") await this.#state.opening;
      else if (this.#state.kind === "closing") await this.#state.closing;
      else await this.#open(this.#state.kind === "parked" ? this.#state.parked : null, storage);
    }
  }

  /** Of a broken host: now and then it opens the tenant anew, and goes on with what it had open too. */
  #stillOpen(tenant: OpenTenant): OpenTenant | null {
    if (this.#parts.broken.opensAgain !== true) return tenant;
    this.#asked += 1;
    if (this.#asked % 5 !== 0) return this.#asked % 2 === 0 ? (this.#older ?? tenant) : tenant;
    this.#older = tenant;
    return null;
  }

  async #open(parked: ParkedTenant | null, storage: StoragePorts): Promise<void> {
    const opening = this.#tryToOpen(parked, storage);
    this.#state = { kind: "opening", opening };
    await opening;
  }

  async #tryToOpen(parked: ParkedTenant | null, storage: StoragePorts): Promise<void> {
    const { schedule, broken, actor } = this.#parts;
    try {
      await this.#leftover?.unregister();
      this.#leftover = null;
      const tenant = await (parked === null
        ? openTenant(this.tenantId, storage)
        : unparkTenant(parked, storage));
      schedule.note(
        `${actor.name} has ${this.tenantId} open: epoch ${tenant.epoch}, ${tenant.report.source}`,
      );
      broken.opened?.(tenant);
      this.#state = { kind: "open", tenant };
      this.#isWanted = false;
      this.#isStopping = false;
      this.#wakes.begin(tenant.epoch);
      if (this.#parts.ended()) this.#drop(tenant, new EndedError());
    } catch (error) {
      this.#state = { kind: "closed" };
      if (error instanceof ElsewhereError) this.#isWanted = false;
      if (!(error instanceof ParkedFileLostError)) throw error;
      schedule.note(`${actor.name} does not use what it has parked: ${error.message}`);
    }
  }

  /** What the answer shows: all that is in the file after the write. It is durable by then. */
  async #use(tenant: OpenTenant, write: string | null): Promise<readonly string[]> {
    this.#users += 1;
    try {
      if (write !== null) {
        if (this.#isStopping) throw new EndedError();
        await tenant.connection.write((on) => on.run("INSERT", [write]));
      }
      const content = await tenant.connection.read(allOf);
      await this.#gate(tenant, content);
      return content;
    } catch (error) {
      if (error instanceof VoidRegistrationError || error instanceof RecordChangedError)
        this.#drop(tenant, error);
      throw error;
    } finally {
      this.#users -= 1;
      if (this.#users === 0) this.#onUnused();
    }
  }

  async #gate(tenant: OpenTenant, content: readonly string[]): Promise<void> {
    const ensured = isUnfinished(content) ? this.#wakes.ensure(this.#parts.now()) : undefined;
    await Promise.all([tenant.durable(), ensured]);
  }

  /** Of a tenant that is not open only what is parked with it is remembered. */
  #newWakes(standing: string | null): TenantWakes {
    return new TenantWakes(this.#parts.store, this.tenantId, standing);
  }

  /** No writes from now on; gives when unfinished work is due, null if there is none. */
  async #stopWork(tenant: OpenTenant): Promise<number | null> {
    this.#isStopping = true;
    await tenant.connection.idle();
    const content = await tenant.connection.read(allOf);
    const laterMs = (content.length % 3) * 60_000;
    return isUnfinished(content) ? this.#parts.now() + laterMs : null;
  }

  #isParkable(tenant: OpenTenant): boolean {
    return this.#users === 0 && tenant.rounds.isCovered;
  }

  async #unused(): Promise<void> {
    const { schedule, actor } = this.#parts;
    if (this.#users === 0) return;
    await Promise.race([
      new Promise<void>((resolve) => (this.#onUnused = resolve)),
      schedule.step(actor, "waits no longer for those who use the tenant"),
    ]);
  }

  async #letGo(tenant: OpenTenant, how: string, work: () => Promise<State>): Promise<State> {
    const { schedule, actor, broken, refuse } = this.#parts;
    try {
      const next = await work();
      schedule.note(`${actor.name} has ${how} epoch ${tenant.epoch} of ${this.tenantId}`);
      return next;
    } catch (error) {
      refuse(`that it be ${how}`, error);
      if (how === "released" && broken.goesOnAfterRelease === true) return { kind: "open", tenant };
      this.#isWanted = true;
      return await this.#abandon(tenant, error as Error);
    }
  }

  async #releaseParked(parked: ParkedTenant, storage: StoragePorts): Promise<State> {
    try {
      await releaseParked(parked, storage);
      this.#parts.schedule.note(`${this.#parts.actor.name} has released epoch ${parked.epoch}, parked`);
    } catch (error) {
      this.#parts.refuse("a release", error);
    }
    return { kind: "closed" };
  }

  #drop(tenant: OpenTenant, why: Error): void {
    if (this.tenant !== tenant) return;
    this.#isWanted = true;
    void this.#close(() => this.#abandon(tenant, why));
  }

  async #abandon(tenant: OpenTenant, why: Error): Promise<State> {
    try {
      await tenant.abandon(why);
    } catch (error) {
      this.#parts.refuse("an end", error);
      this.#leftover = tenant.replica;
    }
    return { kind: "closed" };
  }

  async #close(work: () => Promise<State>): Promise<void> {
    const closing = work().then((next) => {
      this.#state = next;
      // A slot that is closed is remembered for a while, or forgotten.
      this.#closings += 1;
      if (next.kind === "parked") this.#wakes = this.#newWakes(next.wake);
      else if (!this.keepsClaim && this.#closings % 2 === 0) this.#wakes = this.#newWakes(null);
    });
    this.#state = { kind: "closing", closing };
    await closing;
  }
}
