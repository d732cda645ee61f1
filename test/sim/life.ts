import { AsyncLocalStorage } from "node:async_hooks";
import { Engine } from "../../app/engine/engine.ts";
import type { Agent, FailureContext, RunContext } from "../../app/engine/agent.ts";
import type { Clock } from "../../app/engine/clock.ts";
import type { Durability, HistoryEvent, Journal, Write } from "../../app/engine/journal.ts";
import { identityKey, type StepIdentity } from "../../app/engine/step-identity.ts";
import { turn } from "../../app/engine/turn.ts";
import type { Random } from "../crash/drill/random.ts";
import { MortalClock, type SetClock } from "../fakes/clock.ts";
import type { MemoryFile } from "../fakes/memory-file.ts";
import { MemoryJournal, type MemoryTransaction } from "../fakes/memory-journal.ts";
import { anyAgent } from "../support/agent.ts";
import { intercepted } from "../support/intercepted-journal.ts";
import { interpret, type Outside } from "./interpret.ts";
import { rowKey } from "./invariants.ts";
import { maxAttempts, type Program } from "./program.ts";
import { Violation, type Witness } from "./witness.ts";

/** How the world around a process is just now. */
export interface Weather {
  /** Of each append, and of each read. */
  failingAppends: number;
  failingReads: number;
  /** Of a crash, at each point where one is possible. */
  crash: number;
  gate: "pass" | "hold" | "reject";
}

/** What stands between the engine and its journal, clock and ids, for a bug that is to be found. */
export interface Planted {
  readonly journal?: (journal: Journal, random: Random) => Journal;
  readonly clock?: (clock: Clock, random: Random) => Clock;
  readonly newId?: (newId: () => string, random: Random) => () => string;
}

export interface LifeOptions {
  readonly file: MemoryFile;
  readonly clock: SetClock;
  readonly random: Random;
  readonly weather: Weather;
  readonly witness: Witness;
  readonly programs: readonly Program[];
  readonly ownNames: boolean;
  readonly maxLive: number;
  readonly durability: Durability;
  readonly newId: () => string;
  readonly planted: Planted;
  readonly trace: (line: string) => void;
}

/** One process with the tenant open, from its start to its crash or stop. */
export class Life {
  readonly engine: Engine;
  readonly clock: MortalClock;
  readonly #options: LifeOptions;
  readonly #memory: MemoryJournal;
  readonly journal: Journal;
  /** What attempts and the store wait on. */
  readonly #outside: MortalClock;
  /** Attempts that are under way. */
  attempts = 0;
  dead = false;
  /** What `onTrouble` was told: the tenant is to be opened anew. */
  trouble: Error | null = null;
  violation: Violation | null = null;
  /** Answers of appends come in the order of the appends. */
  #answers: Promise<unknown> = Promise.resolve();

  constructor(options: LifeOptions) {
    this.#options = options;
    const { file, random, planted } = options;
    this.clock = new MortalClock(options.clock);
    this.#outside = new MortalClock(options.clock);
    this.#memory = new MemoryJournal(file, () => this.#gate());
    const planned = planted.journal?.(this.#memory, random) ?? this.#memory;
    this.journal = this.#witnessed(intercepted(planned, (method, call) => this.#around(method, call)));
    this.engine = new Engine({
      agents: new Map(this.#agents().map((agent) => [agent.id, agent])),
      journal: this.journal,
      clock: planted.clock?.(this.clock, random) ?? this.clock,
      log: { info: () => {}, warn: () => {}, error: () => {} },
      tenantId: "acme",
      guard: { begin: ({ run }, call) => runs.run(run.id, call), enter: () => {} },
      durability: options.durability,
      newId: planted.newId?.(options.newId, random) ?? options.newId,
      random: () => random.next(),
      maxLive: options.maxLive,
      onTrouble: (error) => {
        this.trouble ??= error as Error;
      },
    });
  }

  /** The process is gone, in the middle of whatever it did. */
  crash(): void {
    if (this.dead) return;
    this.dead = true;
    this.#memory.kill();
    this.clock.end();
    this.#outside.end();
    this.#options.trace("crash");
  }

  /** The first is kept: what follows it may only follow from it. */
  violated(error: unknown): void {
    if (!this.dead) this.violation ??= error instanceof Violation ? error : new Violation(String(error));
  }

  #agents(): readonly Agent[] {
    const agents: Agent[] = this.#options.programs.map(({ ops, timeoutMs, onFailure }, index) =>
      anyAgent((context) => interpret(ops, context, outside), {
        id: `agent${index}`,
        retry: { maxAttempts, delay: "1s", backoff: "fixed" },
        ...(timeoutMs === null ? {} : { timeout: timeoutMs }),
        ...(onFailure === null
          ? {}
          : { onFailure: async (context) => interpret(onFailure, asRun(context), outside) }),
      }),
    );
    const outside: Outside = {
      agent: (index) => agents[index] as Agent,
      ownNames: this.#options.ownNames,
      making: (runId, identity, before) =>
        this.#watched(() => this.#options.witness.made(runId, identity, before)),
      called: (runId, key) => this.#watched(() => this.#options.witness.called(runId, key)),
      attempt: (key, attempt, ms) => this.#attempt(key, attempt, ms),
      isMended: (runId) => {
        const rows = this.#options.file.state.history.get(runId) ?? [];
        return rows.filter(({ kind }) => kind === "run.retried").length % 2 === 1;
      },
      count: (tx, runId, identity) => this.#count(tx as MemoryTransaction, runId, identity),
      settled: (runId, identity, result) =>
        this.#watched(() => this.#options.witness.settled(runId, identity, result)),
    };
    return agents;
  }

  async #attempt(idempotencyKey: string, attempt: number, ms: number): Promise<void> {
    await this.#point();
    const [runId = ""] = idempotencyKey.split(":");
    this.#options.trace(`attempt ${attempt} of ${idempotencyKey}`);
    this.#watched(() => this.#options.witness.attempt(runId, idempotencyKey, attempt));
    this.attempts += 1;
    try {
      await this.#wait(ms);
      await this.#point();
    } finally {
      this.attempts -= 1;
    }
  }

  async #count(tx: MemoryTransaction, runId: string, identity: StepIdentity): Promise<void> {
    const key = rowKey(runId, identityKey(identity));
    const before = tx.get(key) ?? 0;
    await this.#point();
    tx.set(key, before + 1);
    await this.#point();
  }

  #watched(look: () => void): void {
    if (this.dead) return;
    try {
      look();
    } catch (error) {
      this.violated(error);
    }
  }

  #wait(ms: number): Promise<void> {
    return new Promise((resolve) => void this.#outside.setTimer(this.#outside.now() + ms, resolve));
  }

  /** Where the process may end; then nothing goes on here. */
  async #point(times = 1): Promise<void> {
    const { random, weather } = this.#options;
    if (!this.dead && random.chance(weather.crash * times)) this.crash();
    if (this.dead) return await never();
  }

  async #gate(): Promise<void> {
    const { weather } = this.#options;
    if (weather.gate === "reject") throw new Error("the store cannot be reached");
    while (weather.gate === "hold" && !this.dead) await this.#wait(50);
  }

  /** The journal is slow, fails, and may be the last thing that the process has called. */
  async #around(method: keyof Journal, call: () => Promise<unknown>): Promise<unknown> {
    await this.#point();
    const { random, weather, trace } = this.#options;
    const failing =
      method === "append" ? weather.failingAppends : method === "durable" ? 0 : weather.failingReads;
    if (method !== "transaction" && random.chance(failing)) {
      trace(`${method} fails`);
      await turn();
      throw new Error("the disk is full");
    }
    const called = call();
    const answer = method === "append" ? this.#inOrder(called) : this.#delayed(called);
    try {
      return await answer;
    } finally {
      // What was committed and not heard of is what a process has most to mend after.
      await this.#point(method === "append" ? 4 : 1);
    }
  }

  #inOrder(called: Promise<unknown>): Promise<unknown> {
    // It may fail while the answers before it are still on their way.
    called.catch(() => {});
    const answered = this.#answers.then(() => this.#delayed(called));
    this.#answers = answered.catch(() => {});
    return answered;
  }

  async #delayed(called: Promise<unknown>): Promise<unknown> {
    const { random } = this.#options;
    try {
      return await called;
    } finally {
      if (random.chance(0.2)) for (let turns = random.between(1, 3); turns > 0; turns -= 1) await turn();
    }
  }

  /** Tells the witness what the engine was told. */
  #witnessed(journal: Journal): Journal {
    const { witness, trace } = this.#options;
    const told = (writes: readonly Write[]): void => {
      if (this.dead) return;
      witness.committed(writes);
      for (const write of writes) if (write.kind === "event") trace(lineOf(write.event));
    };
    return Object.assign(Object.create(journal) as Journal, {
      append: async (writes: readonly Write[]) => {
        if (!this.dead) witness.asked(writes);
        await journal.append(writes);
        told(writes);
      },
      transaction: async (work: (tx: unknown) => Promise<readonly Write[]>) => {
        let writes: readonly Write[] = [];
        await journal.transaction(async (tx) => (writes = await work(tx)));
        told(writes);
      },
      durable: async () => {
        const mark = witness.mark();
        await journal.durable();
        if (!this.dead) witness.durable(mark);
      },
    });
  }
}

/** The run whose code goes on. */
const runs = new AsyncLocalStorage<string>();

/** What a program is given as `onFailure`, which is not told the id of its own run. */
function asRun(context: FailureContext<unknown>): RunContext<unknown> {
  return { ...context, run: { id: runs.getStore() ?? "", agent: context.run.agent, setState: () => {} } };
}

function lineOf({ runId, seq, kind, path, name }: HistoryEvent): string {
  return `${runId} ${seq} ${kind} ${path}/${name}`;
}

function never(): Promise<never> {
  return new Promise(() => {});
}
