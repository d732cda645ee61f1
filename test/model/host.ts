import { OwnHostRecord } from "../../app/storage/host-record.ts";
import type { OpenTenant, StoragePorts } from "../../app/storage/open-tenant.ts";
import { Peers } from "../../app/storage/peers.ts";
import { allWakes } from "../../app/storage/wakes.ts";
import type { Broken } from "./broken.ts";
import type { DriftingClock } from "./drifting-clock.ts";
import { assertRefusal, EndedError } from "./refusal.ts";
import type { Actor, Schedule } from "./schedule.ts";
import { ModelSlot } from "./slot.ts";
import type { SupervisedLitestream } from "./supervised-litestream.ts";
import type { Witness } from "./witness.ts";

/** Of the schedule's milliseconds; a beat comes every third of it. */
export const ttlMs = 240;

export interface HostParts {
  readonly actor: Actor;
  readonly machine: string;
  readonly schedule: Schedule;
  readonly clock: DriftingClock;
  readonly litestream: SupervisedLitestream;
  readonly witnesses: ReadonlyMap<string, Witness>;
  readonly ports: Omit<StoragePorts, "hostRecord" | "peers" | "litestream" | "now">;
  /** How the host proves itself; `prove`, if nothing stands between. */
  readonly proof: () => Promise<void>;
  readonly broken: Broken;
  /** Something happened that must not. */
  readonly onViolation: (error: unknown) => void;
  /** The process ends. */
  readonly exit: () => void;
}

/** A host with its tenants: what a WorkerHost does, as far as storage can see it. */
export class ModelHost {
  readonly id: string;
  readonly actor: Actor;
  readonly machine: string;
  readonly litestream: SupervisedLitestream;
  readonly clock: DriftingClock;
  readonly #parts: HostParts;
  readonly #slots: ReadonlyMap<string, ModelSlot>;
  #storage: StoragePorts | null = null;
  #record: OwnHostRecord | null = null;
  #ended = false;

  constructor(parts: HostParts) {
    this.#parts = parts;
    const { actor, machine, litestream, clock, schedule, broken } = parts;
    this.id = actor.name;
    this.actor = actor;
    this.machine = machine;
    this.litestream = litestream;
    this.clock = clock;
    const storage = (): StoragePorts | null => this.#storage;
    const ended = (): boolean => this.#ended;
    const refuse = (what: string, error: unknown): void => this.#refuse(what, error);
    const { store } = parts.ports;
    const now = (): number => clock.now();
    this.#slots = new Map(
      [...parts.witnesses].map(([tenantId, witness]) => [
        tenantId,
        new ModelSlot(tenantId, { actor, schedule, witness, broken, store, now, storage, ended, refuse }),
      ]),
    );
  }

  get isUp(): boolean {
    return this.#storage !== null && !this.#ended && this.actor.runs;
  }

  /** The tenants that are open here. */
  get tenants(): readonly OpenTenant[] {
    return [...this.#slots.values()].flatMap(({ tenant }) => tenant ?? []);
  }

  /** The tenants whose files nobody uses here. */
  get tenantsAtRest(): readonly string[] {
    return [...this.#slots.values()].filter(({ isAtRest }) => isAtRest).map(({ tenantId }) => tenantId);
  }

  slot(tenantId: string): ModelSlot {
    const slot = this.#slots.get(tenantId);
    if (slot === undefined) throw new Error(`There is no tenant ${tenantId}.`);
    return slot;
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
      litestream.onRestart(() => {
        for (const slot of this.#slots.values()) void slot.registerAgain().catch(() => {});
      });
    } catch (error) {
      this.#refuse("its start", error);
      this.#ended = true;
      this.#parts.exit();
    }
  }

  /** Opens the tenants that have work which is due. */
  async serveWakes(): Promise<void> {
    if (this.#storage === null || this.#ended) return;
    try {
      const { store, now } = this.#storage;
      const wakes = await allWakes(store);
      for (const wake of wakes) this.slot(wake.tenantId).see(wake);
      for (const wake of wakes) if (wake.at <= now()) await this.slot(wake.tenantId).serve(wake);
    } catch (error) {
      this.#refuse("a look at the wakes", error);
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
    const slots = [...this.#slots.values()];
    await Promise.all(slots.map((slot) => slot.end()));
    await draining;
    if (slots.some(({ keepsClaim }) => keepsClaim)) await this.#record.stop();
    else await this.#record.retire();
    this.#parts.exit();
  }

  #fence(): void {
    this.#ended = true;
    const { schedule, actor, exit } = this.#parts;
    schedule.note(`${this.id} knows that it is fenced`);
    for (const slot of this.#slots.values()) slot.drop(new EndedError());
    schedule.add({ actor, what: "exits", run: exit });
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
