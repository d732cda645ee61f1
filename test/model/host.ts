import { OwnHostRecord } from "../../app/storage/host-record.ts";
import { openTenant, type OpenTenant, type StoragePorts } from "../../app/storage/open-tenant.ts";
import { Peers } from "../../app/storage/peers.ts";
import type { OwnedRecord } from "../../app/storage/owned-record.ts";
import { pruneTenant } from "../../app/storage/pruning.ts";
import { RecordChangedError } from "../../app/storage/records.ts";
import { VoidRegistrationError, type Replica } from "../../app/storage/replica.ts";
import { assertRefusal, EndedError } from "./refusal.ts";
import type { Actor, Schedule } from "./schedule.ts";
import { allOf } from "./memory-connection.ts";
import type { DriftingClock } from "./drifting-clock.ts";
import type { SupervisedLitestream } from "./supervised-litestream.ts";
import { textOf, type Witness } from "./witness.ts";

export const tenantId = "acme";
/** Of the schedule's milliseconds; a beat comes every third of it. */
export const ttlMs = 240;

export interface HostParts {
  readonly actor: Actor;
  readonly machine: string;
  readonly schedule: Schedule;
  readonly clock: DriftingClock;
  readonly litestream: SupervisedLitestream;
  readonly witness: Witness;
  readonly ports: Omit<StoragePorts, "hostRecord" | "peers" | "litestream" | "now">;
  /** How the host proves itself; `prove`, if nothing stands between. */
  readonly proof: () => Promise<void>;
  readonly prunes: (record: OwnedRecord) => OwnedRecord;
  readonly opened: (tenant: OpenTenant) => void;
  readonly goesOnAfterRelease: boolean;
  /** Something happened that must not. */
  readonly onViolation: (error: unknown) => void;
  /** The process ends. */
  readonly exit: () => void;
}

type State =
  | { readonly kind: "closed" }
  | { readonly kind: "opening"; readonly opening: Promise<void> }
  | { readonly kind: "open"; readonly tenant: OpenTenant }
  | { readonly kind: "closing"; readonly closing: Promise<void> };

/** A host with one tenant: what a WorkerHost and its TenantSlot do, as far as storage can see it. */
export class ModelHost {
  readonly id: string;
  readonly actor: Actor;
  readonly machine: string;
  readonly litestream: SupervisedLitestream;
  readonly clock: DriftingClock;
  readonly #parts: HostParts;
  #storage: StoragePorts | null = null;
  #record: OwnHostRecord | null = null;
  #state: State = { kind: "closed" };
  #leftover: Replica | null = null;
  #keepsClaim = false;
  #ended = false;
  #uses = 0;
  #onUnused = (): void => {};

  constructor(parts: HostParts) {
    this.#parts = parts;
    this.id = parts.actor.name;
    this.actor = parts.actor;
    this.machine = parts.machine;
    this.litestream = parts.litestream;
    this.clock = parts.clock;
  }

  get isUp(): boolean {
    return this.#storage !== null && !this.#ended && this.actor.runs;
  }

  get tenant(): OpenTenant | null {
    return this.#state.kind === "open" ? this.#state.tenant : null;
  }

  async prove(): Promise<void> {
    await this.#record?.proof();
  }

  async start(): Promise<void> {
    const { actor, clock, machine, litestream, ports } = this.#parts;
    const identity = { id: actor.name, machine, address: `http://${actor.name}`, region: "r", ttlMs };
    const log = { warn: () => {} };
    try {
      const record = await OwnHostRecord.create(ports.store, identity, log, () => this.#fence(), clock);
      this.#record = record;
      const hostRecord = withProof(record, this.#parts.proof);
      const peers = new Peers(ports.store, actor.name, clock);
      this.#storage = { ...ports, litestream, hostRecord, peers, now: () => clock.now() };
      litestream.onRestart(() => void this.tenant?.replica.registerAgain().catch(() => {}));
    } catch (error) {
      this.#end(error);
    }
  }

  /** A client's request: a write if one is given, else a read. True if it was answered. */
  async request(write: string | null): Promise<boolean> {
    const { schedule, witness, actor } = this.#parts;
    const begun = witness.begin();
    try {
      const tenant = await this.#acquire();
      const content = await this.#use(tenant, write);
      await schedule.step(
        actor,
        `answers ${write ?? "a read"} with ${textOf(content)} in epoch ${tenant.epoch}`,
      );
      witness.told({ host: this.id, epoch: tenant.epoch, content, begun });
      return true;
    } catch (error) {
      this.#refuse(write ?? "a read", error);
      return false;
    }
  }

  /** Lets the tenant go, if it is open. */
  async release(): Promise<void> {
    if (this.#state.kind !== "open") return;
    const { tenant } = this.#state;
    const closing = this.#release(tenant);
    this.#state = { kind: "closing", closing };
    await closing;
  }

  /** Deletes what is older than `historyMs` by this host's clock. */
  async prune(historyMs: number): Promise<void> {
    const { tenant } = this;
    if (tenant === null || this.#storage === null) return;
    const { store, now } = this.#storage;
    try {
      const pruned = await pruneTenant(this.#parts.prunes(tenant.record), { store, now: now(), historyMs });
      this.#parts.schedule.note(`${this.id} has pruned ${pruned.epochs} epochs, ${pruned.objects} objects`);
    } catch (error) {
      this.#refuse("a pruning", error);
    }
  }

  noteRefused(hostId: string): void {
    this.#storage?.peers.noteRefused(hostId);
  }

  /** Ends properly, as after a SIGTERM. */
  async drain(): Promise<void> {
    if (this.#ended || this.#record === null) return;
    this.#ended = true;
    const draining = this.#record.drain();
    if (this.#state.kind === "opening") await this.#state.opening.catch(() => {});
    await this.release();
    if (this.#state.kind === "closing") await this.#state.closing;
    await draining;
    if (this.#keepsClaim || this.#leftover !== null) await this.#record.stop();
    else await this.#record.retire();
    this.#parts.exit();
  }

  async #acquire(): Promise<OpenTenant> {
    for (;;) {
      if (this.#ended || this.#storage === null) throw new EndedError();
      if (this.#state.kind === "open") return this.#state.tenant;
      if (this.#state.kind === "opening") await this.#state.opening;
      else if (this.#state.kind === "closing") await this.#state.closing;
      else await this.#open(this.#storage);
    }
  }

  async #open(storage: StoragePorts): Promise<void> {
    const opening = this.#openFile(storage);
    this.#state = { kind: "opening", opening };
    await opening;
  }

  async #openFile(storage: StoragePorts): Promise<void> {
    try {
      await this.#leftover?.unregister();
      this.#leftover = null;
      const tenant = await openTenant(tenantId, storage);
      this.#parts.schedule.note(
        `${this.id} has ${tenantId} open: epoch ${tenant.epoch}, ${tenant.report.source}`,
      );
      this.#parts.opened(tenant);
      this.#state = { kind: "open", tenant };
      this.#keepsClaim = true;
      if (this.#ended) this.#drop(tenant, new EndedError());
    } catch (error) {
      this.#state = { kind: "closed" };
      throw error;
    }
  }

  /** What the answer shows: all that is in the file after the write. It is durable by then. */
  async #use(tenant: OpenTenant, write: string | null): Promise<readonly string[]> {
    this.#uses += 1;
    try {
      if (write !== null) await tenant.connection.write((on) => on.run("INSERT", [write]));
      const content = await tenant.connection.read(allOf);
      await tenant.durable();
      return content;
    } catch (error) {
      if (error instanceof VoidRegistrationError || error instanceof RecordChangedError)
        this.#drop(tenant, error);
      throw error;
    } finally {
      this.#uses -= 1;
      if (this.#uses === 0) this.#onUnused();
    }
  }

  async #release(tenant: OpenTenant): Promise<void> {
    const { schedule, actor, goesOnAfterRelease } = this.#parts;
    if (this.#uses > 0)
      await Promise.race([
        new Promise<void>((resolve) => (this.#onUnused = resolve)),
        schedule.step(actor, "waits no longer for those who use the tenant"),
      ]);
    try {
      await tenant.release(async () => {});
      this.#keepsClaim = false;
      schedule.note(`${this.id} has released epoch ${tenant.epoch}`);
      this.#state = { kind: "closed" };
    } catch (error) {
      this.#refuse("a release", error);
      if (goesOnAfterRelease) this.#state = { kind: "open", tenant };
      else await this.#abandon(tenant, error as Error);
    }
  }

  #drop(tenant: OpenTenant, why: Error): void {
    if (this.tenant !== tenant) return;
    this.#state = { kind: "closing", closing: this.#abandon(tenant, why) };
  }

  async #abandon(tenant: OpenTenant, why: Error): Promise<void> {
    try {
      await tenant.abandon(why);
    } catch (error) {
      this.#refuse("an end", error);
      this.#leftover = tenant.replica;
    }
    this.#state = { kind: "closed" };
  }

  #fence(): void {
    this.#ended = true;
    const { schedule, actor, exit } = this.#parts;
    schedule.note(`${this.id} knows that it is fenced`);
    if (this.tenant !== null) this.#drop(this.tenant, new EndedError());
    schedule.add({ actor, what: "exits", run: exit });
  }

  #end(error: unknown): void {
    this.#refuse("its start", error);
    this.#ended = true;
    this.#parts.exit();
  }

  #refuse(what: string, error: unknown): void {
    try {
      assertRefusal(error);
      this.#parts.schedule.note(`${this.id} refuses ${what}: ${(error as Error).message}`);
    } catch (unexpected) {
      this.#parts.onViolation(unexpected);
    }
  }
}

/** The record, with another way to prove itself. */
function withProof(record: OwnHostRecord, proof: () => Promise<void>): OwnHostRecord {
  return new Proxy(record, {
    get(target, name) {
      if (name === "proof") return proof;
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}
