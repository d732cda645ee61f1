import { hasEnded, type Durability, type RunRecord } from "../../app/engine/journal.ts";
import { whatCounts } from "../../app/engine/past.ts";
import { Random } from "../crash/drill/random.ts";
import { SetClock } from "../fakes/clock.ts";
import { MemoryFile } from "../fakes/memory-file.ts";
import { Clients } from "./clients.ts";
import { checkAtRest, checkFile, openWaits } from "./invariants.ts";
import { Life, type Planted, type Weather } from "./life.ts";
import { programs, type Program } from "./program.ts";
import type { Turns } from "./turns.ts";
import { Violation, Witness } from "./witness.ts";

export interface WorldOptions {
  readonly seed: number;
  /** The same requests, and nothing goes wrong. */
  readonly calm?: boolean;
  readonly planted?: Planted;
}

/** How one world went. */
export interface Outcome {
  readonly violation: Violation | null;
  readonly trace: readonly string[];
  /** What each run gave, by its agent; null where chance has a part in it. */
  readonly results: ReadonlyMap<string, ReadonlySet<string>> | null;
  readonly crashes: number;
}

const maxTurns = 30_000;
/** Rounds from rest to rest until every run has ended. */
const maxRounds = 3_000;

/** Plays the world that follows from the seed. */
export async function play(turns: Turns, options: WorldOptions): Promise<Outcome> {
  const world = new World(turns, options);
  let violation: Violation | null = null;
  try {
    await world.play();
  } catch (error) {
    if (!(error instanceof Violation)) throw error;
    violation = error;
  }
  world.end();
  return {
    violation,
    trace: world.trace,
    results: world.steady && violation === null ? world.results() : null,
    crashes: world.crashes,
  };
}

class World {
  readonly trace: string[] = [];
  readonly steady: boolean;
  crashes = 0;
  readonly #turns: Turns;
  readonly #options: WorldOptions;
  readonly #random: Random;
  readonly #programs: readonly Program[];
  readonly #clock = new SetClock();
  readonly #file = new MemoryFile();
  readonly #witness: Witness;
  readonly #weather: Weather;
  readonly #maxLive: number;
  readonly #durability: Durability;
  readonly #ownNames: boolean;
  /** How often clients look for what has failed, and retry it. */
  readonly #retries: number;
  readonly #clients: Clients;
  #ids = 0;
  #life!: Life;
  #opened = false;

  constructor(turns: Turns, options: WorldOptions) {
    this.#turns = turns;
    this.#options = options;
    const plan = new Random(options.seed);
    this.steady = plan.chance(0.3);
    this.#retries = this.steady ? 0 : plan.pick([0, 2, 4]);
    const kind = { steady: this.steady, failing: this.#retries > 0 && plan.chance(0.7) };
    this.#programs = programs(plan.fork(1), plan.between(1, 3), kind);
    this.#maxLive = plan.pick([1, 1, 2, 3, 100]);
    this.#random = plan.fork(2);
    // What steady programs give is not to be lost with a disk.
    this.#durability = !this.steady && plan.chance(0.2) ? "local" : "replicated";
    this.#witness = new Witness(() => this.#file.state, this.#durability);
    this.#clients = new Clients({
      random: this.#random,
      file: this.#file,
      witness: this.#witness,
      agents: this.#programs.length,
      durability: this.#durability,
      trace: (line) => void this.trace.push(line),
      answering: () => (this.#opened && !this.#life.dead ? this.#life : null),
    });
    const rough = options.calm !== true;
    this.#weather = {
      crash: rough ? plan.pick([0, 0.005, 0.02]) : 0,
      failingAppends: rough ? plan.pick([0, 0, 0.1]) : 0,
      failingReads: rough ? plan.pick([0, 0, 0.02]) : 0,
      gate: "pass",
    };
    this.#ownNames = plan.chance(0.5);
  }

  async play(): Promise<void> {
    this.#open();
    const actions = this.#random.between(5, 25);
    for (let action = 0; action < actions; action += 1) {
      await this.#act();
      await this.#look();
    }
    for (let round = 0; round < this.#retries; round += 1) await this.#retryFailed();
    await this.#calmDown();
  }

  end(): void {
    this.#life.crash();
  }

  results(): ReadonlyMap<string, ReadonlySet<string>> {
    const results = new Map<string, Set<string>>();
    for (const { agent, status, output, error } of this.#file.state.runs.values())
      results.set(agent, (results.get(agent) ?? new Set()).add(JSON.stringify({ status, output, error })));
    return results;
  }

  async #act(): Promise<void> {
    const random = this.#random;
    const rough = this.#options.calm !== true;
    switch (
      random.pick(["turns", "turns", "time", "time", "start", "start", "signal", "control", "gate", "end"])
    ) {
      case "turns":
        for (let count = random.between(1, 30); count > 0; count -= 1) await this.#take();
        return;
      case "time":
        return await this.#passTime(random.pick([1, 5, 10, 1_000, 6_000]));
      case "start":
        return this.#clients.start();
      case "signal":
        return this.#clients.signal(random.pick(["x", "y"]), random.chance(0.3));
      case "control":
        if (!this.steady) this.#clients.control();
        return;
      case "gate":
        if (rough) this.#weather.gate = random.pick(["pass", "pass", "hold", "reject"]);
        return;
      case "end":
        if (rough && random.chance(0.7)) this.#life.crash();
        else if (rough) await this.#stop();
        return;
    }
  }

  /** Most runs come to their end, and those that failed are retried; that goes on while the next things happen. */
  async #retryFailed(): Promise<void> {
    for (let count = 0; count < 5; count += 1) {
      await this.#passTime(5_000);
      await this.#look();
    }
    this.#clients.retryFailed();
    for (let count = this.#random.between(0, 5); count > 0; count -= 1) {
      await this.#act();
      await this.#look();
    }
  }

  #open(): void {
    this.trace.push(`open at ${this.#clock.now()}`);
    this.#opened = false;
    const life = new Life({
      file: this.#file,
      clock: this.#clock,
      random: this.#random,
      weather: this.#weather,
      witness: this.#witness,
      programs: this.#programs,
      ownNames: this.#ownNames,
      maxLive: this.#maxLive,
      durability: this.#durability,
      newId: () => `id${String(++this.#ids).padStart(6, "0")}`,
      planted: this.#options.planted ?? {},
      trace: (line) => void this.trace.push(line),
    });
    this.#life = life;
    life.engine.open().then(
      () => void (this.#opened ||= life === this.#life),
      (error: unknown) => void (life.trouble ??= error as Error),
    );
  }

  /** What is wrong now is said now; a process that has crashed, or wants to be opened anew, is replaced. */
  async #look(): Promise<void> {
    const life = this.#life;
    if (life.violation !== null) throw life.violation;
    const live = [...life.engine.countLive().values()].reduce((sum, count) => sum + count, 0);
    if (live > this.#maxLive) throw new Violation(`${live} runs are in memory, and ${this.#maxLive} may be`);
    if (life.trouble !== null && !life.dead) {
      this.trace.push(`trouble: ${life.trouble.message}`);
      life.crash();
    }
    if (life.dead) this.#reopen();
  }

  #reopen(): void {
    this.crashes += 1;
    const { durable, commits } = this.#file;
    const kept = this.#random.chance(0.5) ? commits : this.#random.between(durable, commits);
    this.#file.loseAfter(kept);
    this.trace.push(`${kept} of ${commits} commits are left`);
    checkFile(this.#file.state, this.#witness.deleted);
    this.#witness.crashed();
    this.#open();
  }

  async #stop(): Promise<void> {
    const life = this.#life;
    this.trace.push("stop");
    const stopped = { yet: false };
    void life.engine.stop(100).then(() => (stopped.yet = true));
    for (let rounds = 0; rounds < 20 && !stopped.yet && !life.dead; rounds += 1) {
      await this.#settle();
      if (!stopped.yet) await this.#passTime(20);
    }
    life.crash();
  }

  async #take(): Promise<void> {
    await this.#turns.take();
    if (this.#turns.taken > maxTurns) throw new Violation("the engine never comes to rest");
  }

  /** All that can go on without the clock goes on. */
  async #settle(): Promise<void> {
    do await this.#take();
    while (this.#turns.waiting > 0);
  }

  async #passTime(ms: number): Promise<void> {
    await this.#clock.advance(ms, async () => {
      if (!this.#life.dead) await this.#settle();
    });
  }

  /** Nothing goes wrong any more, and everything must come to its end. */
  async #calmDown(): Promise<void> {
    Object.assign(this.#weather, {
      crash: 0,
      failingAppends: 0,
      failingReads: 0,
      gate: "pass",
    } satisfies Weather);
    this.trace.push("calm");
    // Whoever waits at the gate, or to write again, has another try by then.
    await this.#look();
    await this.#passTime(6_000);
    for (let round = 0; ; round += 1) {
      if (round > maxRounds) throw new Violation("the world never comes to its end");
      await this.#look();
      await this.#settle();
      await this.#look();
      checkFile(this.#file.state, this.#witness.deleted);
      if (this.#opened && this.#life.attempts === 0) this.#checkRest();
      const { nextAt } = this.#clock;
      const { attempts, clock } = this.#life;
      const { pending } = clock;
      // A step that lost a race may outlive its run.
      if (this.#opened && attempts === 0 && pending > 0 && this.#unfinished().length === 0)
        throw new Violation(`every run has ended, ${pending} timers are left`);
      if (nextAt !== null) await this.#passTime(Math.max(0, nextAt - this.#clock.now()));
      else if (!this.#moveOn()) break;
    }
    await this.#checkEnd();
  }

  /** What waits for somebody outside gets it; false if nothing does. */
  #moveOn(): boolean {
    let moved = false;
    if (this.steady) moved = this.#clients.repeat();
    for (const run of this.#file.state.runs.values()) {
      if (hasEnded(run.status)) continue;
      if (run.status === "paused") {
        this.#clients.resume(run.id);
        moved = true;
        continue;
      }
      const [open] = openWaits(this.#file.state.history.get(run.id) ?? []).flatMap(
        ({ signal }) => signal ?? [],
      );
      if (open === undefined) continue;
      const inbox = [...this.#file.state.signals.values()].some(
        ({ runId, name, takenBySeq }) => runId === run.id && name === open && takenBySeq === null,
      );
      if (inbox) throw new Violation(`run ${run.id} waits for signal "${open}", which lies in its inbox`);
      this.#clients.sendSignal(run.id, open);
      moved = true;
    }
    return moved;
  }

  #unfinished(): readonly RunRecord[] {
    return [...this.#file.state.runs.values()].filter(({ status }) => !hasEnded(status));
  }

  #checkRest(): void {
    const { runs } = this.#file.state;
    for (const { id, parent, startedAt, createdAt } of this.#unfinished()) {
      const endedAt = runs.get(parent ?? "")?.endedAt ?? null;
      if (endedAt !== null && (startedAt ?? createdAt) <= endedAt)
        throw new Violation(`run ${id} goes on, and run ${parent}, which waited for it, has ended`);
    }
    // Such a run takes up to a second of the clock, and others may wait for its room.
    if (this.#unfinished().some(({ id, status }) => status !== "paused" && this.#isRetracing(id))) return;
    for (const run of this.#file.state.runs.values()) {
      if (hasEnded(run.status) || run.status === "paused" || (run.status === "queued" && run.wakeAt !== null))
        continue;
      const { timeoutMs = null } = this.#programs[agentIndex(run.agent)] ?? {};
      checkAtRest(run, this.#file.state.history.get(run.id) ?? [], timeoutMs);
    }
  }

  /** Whether it is being found out what a retry of the run goes by. */
  #isRetracing(runId: string): boolean {
    return whatCounts(this.#file.state.history.get(runId) ?? []).retracing !== null;
  }

  async #checkEnd(): Promise<void> {
    const { runs } = this.#file.state;
    for (const run of runs.values())
      if (!hasEnded(run.status)) throw new Violation(`run ${run.id} is stuck: it is ${run.status}`);
    this.#witness.checkPromises();
    const { engine, clock } = this.#life;
    if (clock.pending > 0) throw new Violation(`${clock.pending} timers are left`);
    if (engine.unfinished !== 0)
      throw new Violation(`${engine.unfinished} runs count as unfinished, none is`);
    const { running, nextWakeAt } = engine.activity();
    if (running !== 0 || nextWakeAt !== null)
      throw new Violation(`all runs have ended, ${running} count as running, the next wake is ${nextWakeAt}`);
  }
}

/** The place of a run's program; its `onFailure` has the same timeout. */
function agentIndex(agent: string): number {
  return Number.parseInt(agent.slice("agent".length), 10);
}
