import { Random } from "../crash/drill/random.ts";
import { actions, type Action } from "./actions.ts";
import { assembleHost, type Surroundings } from "./assemble.ts";
import type { Broken } from "./broken.ts";
import { damageBucket, damageDisk, forgetFencedHosts } from "./damage.ts";
import { ttlMs, type ModelHost } from "./host.ts";
import type { LitestreamFaults } from "./litestream.ts";
import { Machine } from "./machine.ts";
import { noFaults, type NetworkFaults } from "./network.ts";
import { RecordedStore } from "./recorded-store.ts";
import { Schedule } from "./schedule.ts";
import { assertWoken, leavesWork } from "./unfinished.ts";
import { Violation, Witness } from "./witness.ts";

export interface WorldOptions {
  readonly seed: number;
  readonly broken?: Broken;
}

/** How one schedule went. */
export interface Outcome {
  readonly violation: Violation | null;
  readonly trace: readonly string[];
  readonly counts: Counts;
}

export interface Counts {
  steps: number;
  acknowledged: number;
  epochs: number;
  fenced: number;
}

/** Of the schedules, so many have two tenants, which share hosts, proofs and Litestreams. */
const hasTwoTenants = 0.25;
const stepsWithFaults = 700;
/** Of the steps, before so many something is done to the world. */
const actionRate = 0.1;
const stepsOfCalm = 400;
/** By then somebody must serve the tenants. */
const maxStepsToServe = 6_000;
const stepsBetweenRequests = 40;

/** Plays the schedule that follows from the seed. */
export async function play({ seed, broken = {} }: WorldOptions): Promise<Outcome> {
  const world = new World(seed, broken);
  const undo = world.schedule.install();
  // Thousands of errors are made, and their stacks are what costs most.
  const { stackTraceLimit } = Error;
  Error.stackTraceLimit = 0;
  let violation: Violation | null = null;
  try {
    await world.play();
  } catch (error) {
    if (!(error instanceof Violation)) throw error;
    violation = error;
  } finally {
    undo();
    Error.stackTraceLimit = stackTraceLimit;
  }
  return { violation, trace: world.schedule.trace, counts: world.counts() };
}

class World {
  readonly schedule: Schedule;
  readonly #random: Random;
  readonly #broken: Broken;
  readonly #witnesses: ReadonlyMap<string, Witness>;
  readonly #store = new RecordedStore({
    recorded: (tenantId, record) => this.#guard(() => this.#witnesses.get(tenantId)?.recorded(record)),
    deleted: (key) => this.#guard(() => this.#deleted(key)),
  });
  readonly #network: NetworkFaults;
  readonly #litestream: LitestreamFaults;
  readonly #weights = new Map<Action, number>();
  #machines: [Machine, ...Machine[]] = [new Machine("A"), new Machine("B"), new Machine("C")];
  #violation: unknown = null;
  #hosts = 0;
  #writes = 0;
  /** Whether the bucket has lost something that it must not. */
  #bucketDamaged = false;
  readonly #mayDamageBucket: boolean;

  constructor(seed: number, broken: Broken) {
    const plan = new Random(seed);
    this.#broken = broken;
    this.#random = plan.fork(1);
    this.schedule = new Schedule(plan.fork(2));
    const rough = plan.pick([0, 0.5, 1, 1]);
    this.#network = {
      lost: 0.02 * rough,
      unanswered: 0.03 * rough,
      late: 0.03 * rough,
      doubled: 0.03 * rough,
      repeated: 0.02 * rough,
      slow: 0.05 * rough,
    };
    this.#litestream = { timeout: 0.03 * rough, early: 0.05 * rough, miscounts: 0.01 * rough };
    this.#mayDamageBucket = plan.chance(0.1) || broken.leans?.bucket !== undefined;
    for (const action of Object.keys(actions) as Action[])
      this.#weights.set(action, actions[action] * plan.pick([0.3, 1, 1, 3]) * (broken.leans?.[action] ?? 1));
    const tenants = plan.chance(hasTwoTenants) ? ["acme", "bolt"] : ["acme"];
    this.#witnesses = new Map(
      tenants.map((tenantId) => [tenantId, new Witness((shown) => this.#assertWoken(tenantId, shown))]),
    );
  }

  async play(): Promise<void> {
    for (const machine of this.#machines) await this.#start(machine);
    for (let step = 0; step < stepsWithFaults; step += 1) {
      const happened = await this.#take();
      if (!happened || this.#random.chance(actionRate)) await this.#act();
    }
    this.#calmDown();
    for (let step = 0; step < stepsOfCalm; step += 1) await this.#take();
    await this.#serve();
    await this.#survive();
  }

  counts(): Counts {
    const fenced = [...this.#store.objects].filter(
      ([key, body]) => key.startsWith("hosts/") && body.includes('"fenced"'),
    );
    const witnesses = [...this.#witnesses.values()];
    return {
      steps: this.schedule.taken,
      acknowledged: witnesses.reduce((sum, { acknowledged }) => sum + acknowledged, 0),
      epochs: witnesses.reduce((sum, { epoch }) => sum + epoch, 0),
      fenced: fenced.length,
    };
  }

  /** False if nothing could happen. */
  async #take(): Promise<boolean> {
    const happened = await this.schedule.take();
    if (this.#violation instanceof Error) throw this.#violation;
    return happened;
  }

  #deleted(key: string): void {
    if (key.startsWith("wakes/"))
      for (const [tenantId, { shown }] of this.#witnesses) this.#assertWoken(tenantId, shown);
  }

  /** Of a bucket that has lost something it cannot be told what has finished the work. */
  #assertWoken(tenantId: string, shown: readonly string[]): void {
    if (!this.#bucketDamaged) assertWoken(this.#store, tenantId, shown);
  }

  /** What fails inside of a process's code is thrown from the schedule. */
  #guard(check: () => void): void {
    try {
      check();
    } catch (error) {
      this.#violation ??= error;
    }
  }

  async #act(): Promise<void> {
    const random = this.#random;
    const hosts = this.#hostsUp();
    const host = hosts[Math.floor(random.next() * hosts.length)];
    const machine = random.pick(this.#machines);
    const tenantId = this.#anyOf(this.#witnesses.keys());
    if (this.#broken.forgetsFencedHosts === true) forgetFencedHosts(this.#store);
    switch (this.#drawAction()) {
      case "request":
        return await this.#request(host, tenantId, () => {});
      case "pause":
        return this.#pause(machine);
      case "resume":
        return this.#resume(machine);
      case "crash":
        return this.#crash(machine);
      case "start":
        return await this.#start(machine);
      case "litestream dies":
        return machine.host?.litestream.die();
      case "litestream syncs":
        return await this.#litestreamSyncs(machine);
      case "park":
        return await this.#ask(host, `to park ${tenantId}`, (one) => one.slot(tenantId).park());
      case "release":
        return await this.#ask(host, `to release ${tenantId}`, (one) => one.slot(tenantId).release());
      case "wakes":
        return await this.#ask(host, "to look at the wakes", (one) => one.serveWakes());
      case "drain":
        return await this.#ask(host, "to drain", (one) => one.drain());
      case "prune": {
        const historyMs = random.pick([0, 200]);
        return await this.#ask(host, `to prune ${tenantId}`, (one) => one.slot(tenantId).prune(historyMs));
      }
      case "clock":
        return host?.clock.jump({ monotonicMs: ttlMs, wallMs: random.between(-ttlMs * 9, ttlMs * 9) });
      case "refused":
        return host?.noteRefused(machine.host?.id ?? "");
      case "disk":
        this.schedule.note(`the disk of ${machine.name} loses something`);
        return damageDisk(machine, random);
      case "bucket":
        if (!this.#mayDamageBucket || !damageBucket(this.#store, tenantId, random)) return;
        this.schedule.note("the bucket loses something");
        this.#bucketDamaged = true;
        return;
    }
  }

  #drawAction(): Action {
    let left = this.#random.next() * [...this.#weights.values()].reduce((sum, weight) => sum + weight, 0);
    for (const [action, weight] of this.#weights) {
      if (left < weight) return action;
      left -= weight;
    }
    return "request";
  }

  async #start(machine: Machine): Promise<void> {
    if (machine.host !== null) return;
    machine.endSurvivors();
    const host = assembleHost(`${machine.name}${++this.#hosts}`, machine, this.#surroundings());
    machine.host = host;
    await this.#ask(host, "to start", () => host.start());
  }

  #anyOf(tenantIds: Iterable<string>): string {
    const [first = "", ...others] = tenantIds;
    return this.#random.pick([first, ...others]);
  }

  async #request(host: ModelHost | undefined, tenantId: string, answered: () => void): Promise<void> {
    const leaves = this.#random.pick(["", leavesWork]);
    const write = this.#random.chance(0.7) ? `w${++this.#writes}${leaves}` : null;
    await this.#ask(host, `for ${write ?? "a read"} of ${tenantId}`, async (one) => {
      if (await one.slot(tenantId).request(write)) answered();
    });
  }

  async #ask(
    host: ModelHost | undefined,
    what: string,
    work: (host: ModelHost) => Promise<void>,
  ): Promise<void> {
    if (host === undefined) return;
    await this.schedule.act(host.actor, `is asked ${what}`, () => {
      work(host).catch((error: unknown) => (this.#violation ??= error));
    });
  }

  #pause({ host }: Machine): void {
    if (host === null) return;
    const actor = this.#random.chance(0.8) ? host.actor : host.litestream.process.actor;
    actor.paused = true;
    this.schedule.note(`${actor.name} is paused`);
  }

  #resume({ host }: Machine): void {
    for (const actor of host === null ? [] : [host.actor, host.litestream.process.actor]) {
      if (actor.paused) this.schedule.note(`${actor.name} goes on`);
      actor.paused = false;
    }
  }

  #crash(machine: Machine): void {
    const random = this.#random;
    if (machine.host === null) return;
    const how = random.pick(["crashes", "crashes", "crashes", "is wiped", "loses power", "loses power"]);
    this.schedule.note(`${machine.host.id} ${how}`);
    if (how === "loses power") return machine.losePower(random);
    machine.hostEnds(how === "crashes" && random.chance(0.5));
    if (how !== "is wiped") return;
    machine.endSurvivors();
    machine.disk.wipe();
  }

  async #litestreamSyncs({ host, survivors }: Machine): Promise<void> {
    const litestream = this.#random.chance(0.5) ? survivors[0] : host?.litestream.process;
    if (litestream === undefined || !litestream.actor.runs) return;
    await this.schedule.act(litestream.actor, "syncs by itself", () => litestream.syncByItself());
  }

  /** Nothing goes wrong any more. */
  #calmDown(): void {
    this.schedule.note("calm");
    Object.assign(this.#network, noFaults);
    Object.assign(this.#litestream, { timeout: 0, early: 0, miscounts: 0 });
    for (const machine of this.#machines) this.#resume(machine);
  }

  /** Some host serves each tenant. */
  async #serve(): Promise<void> {
    for (const machine of this.#machines) await this.#start(machine);
    await this.#untilAnswered("none of the hosts serves it any more");
  }

  /** All that is left is the store: another Machine serves the tenants from it, and shows all that was shown. */
  async #survive(): Promise<void> {
    for (const machine of this.#machines) machine.hostEnds(false);
    this.#machines = [new Machine("Z")];
    for (const machine of this.#machines) await this.#start(machine);
    await this.#untilAnswered("a new Machine cannot serve it");
  }

  async #untilAnswered(otherwise: string): Promise<void> {
    const waiting = new Set<string>(this.#witnesses.keys());
    for (let step = 0; waiting.size > 0; step += 1) {
      if (step > maxStepsToServe) {
        if (this.#bucketDamaged) return;
        throw new Violation(`tenant ${[...waiting].join(" and ")}: ${otherwise}`);
      }
      for (const machine of this.#machines) await this.#start(machine);
      if (step % stepsBetweenRequests === 0) {
        const hosts = this.#hostsUp();
        const tenantId = this.#anyOf(waiting);
        const host = hosts[Math.floor(this.#random.next() * hosts.length)];
        await this.#request(host, tenantId, () => void waiting.delete(tenantId));
      }
      await this.#take();
    }
  }

  #hostsUp(): readonly ModelHost[] {
    return this.#machines.flatMap(({ host }) => (host?.isUp === true ? [host] : []));
  }

  #surroundings(): Surroundings {
    return {
      schedule: this.schedule,
      random: this.#random,
      store: this.#store,
      witnesses: this.#witnesses,
      network: this.#network,
      litestream: this.#litestream,
      broken: this.#broken,
      onViolation: (error) => (this.#violation ??= error),
    };
  }
}
