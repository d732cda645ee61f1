import type { Agent } from "./agent.ts";
import type { Clock } from "./clock.ts";
import {
  EngineStoppedError,
  IdempotencyConflictError,
  RunNotFoundError,
  UnknownAgentError,
  WrongStatusError,
} from "./errors.ts";
import { Execution, type ExecutionPorts } from "./execution.ts";
import { failureAgents, failureInput, failureAgentId } from "./failure-agent.ts";
import { hasEnded, type Durability, type HistoryEvent, type Journal, type ListedRun } from "./journal.ts";
import type { RunFilter, RunRecord, RunStatus, SignalRecord } from "./journal.ts";
import { fingerprint } from "./json.ts";
import { KeyedQueue } from "./keyed-queue.ts";
import type { EngineLog } from "./log.ts";
import { rowsThatCount, wholeHistory, type StepPlace } from "./past.ts";
import { RunControl } from "./run-control.ts";
import { RunEndings } from "./run-endings.ts";
import type { Runs, SignalRequest, StartRequest } from "./runs.ts";
import { Scheduler } from "./scheduler.ts";
import { checkValue, recordable } from "./schema.ts";

export interface EngineOptions {
  readonly agents: ReadonlyMap<string, Agent>;
  readonly journal: Journal;
  readonly clock: Clock;
  readonly log: EngineLog;
  readonly tenantId: string;
  /** The least that any run of this tenant gets. */
  readonly durability: Durability;
  /** Ids that sort by the time of their making (UUID version 7). */
  readonly newId: () => string;
  /** For `step.random`. */
  readonly random: () => number;
  /** So many runs may be in memory at a time. */
  readonly maxLive: number;
  /** Told when a run could not be taken up: the tenant should be opened anew. */
  readonly onTrouble: (error: unknown) => void;
}

/** What a tenant's runs are up to, for whoever decides whether the tenant may be let go. */
export interface EngineActivity {
  /** Runs that have not ended and are not paused. */
  readonly unfinished: number;
  /** Runs that something is being done for now. */
  readonly running: number;
  /** When the earliest wait of any run is over; null if none waits for a time. */
  readonly nextWakeAt: number | null;
}

/** A tenant with a run whose agent is missing is looked at so often: the next deploy may bring the agent back. */
const agentRecheckMs = 10 * 60_000;
/** A run that only waits leaves memory after so long: a child or a signal that comes sooner finds it there. */
const parkAfterMs = 5_000;
/** Attempts of a run that is paused get so long to reach their end. */
const pauseGraceMs = 10_000;

/** The runs of one tenant, as long as the tenant is open on this host. */
export class Engine implements Runs {
  readonly #options: EngineOptions;
  /** Those that may be started, and those that only the engine starts. */
  readonly #agents: ReadonlyMap<string, Agent>;
  readonly #scheduler: Scheduler;
  readonly #control: RunControl;
  readonly #endings: RunEndings;
  /** Signals that came in for a run while it was being read. */
  readonly #late = new Map<string, SignalRecord[]>();
  readonly #starts = new KeyedQueue();
  readonly #signals = new KeyedQueue();
  /** One change of a run from outside at a time. */
  readonly #changes = new KeyedQueue();
  /** What came in from outside and is being written. */
  readonly #admitted = new Set<Promise<unknown>>();
  #unfinished = 0;
  #stopped = false;
  /** What was left to do when the engine had stopped. */
  #left: EngineActivity | null = null;

  constructor(options: EngineOptions) {
    this.#options = options;
    this.#agents = new Map([...options.agents, ...failureAgents(options.agents.values())]);
    this.#endings = new RunEndings(options.clock);
    this.#control = new RunControl(options.journal, options.clock, options.newId);
    this.#scheduler = new Scheduler({
      clock: options.clock,
      maxLive: options.maxLive,
      parkAfterMs,
      load: (runId) => this.#load(runId),
      onTrouble: options.onTrouble,
    });
  }

  /** Takes up every run that has not ended: at once what has something to do, at its time what waits for one. */
  async open(): Promise<void> {
    const { journal, clock } = this.#options;
    const lookAt = new Set(await journal.runsToLookAt());
    for (const { id, agent, status, wakeAt } of await journal.unfinishedRuns()) {
      if (status === "paused") continue;
      this.#unfinished += 1;
      const waits = status === "sleeping" || status === "waiting" || (status === "queued" && wakeAt !== null);
      if (!waits || lookAt.has(id)) this.#scheduler.wake(id, agent);
      else if (wakeAt !== null)
        this.#scheduler.wakeAt({ at: Math.max(wakeAt, clock.now()), runId: id, agent });
    }
  }

  async start(request: StartRequest): Promise<{ readonly run: ListedRun; readonly created: boolean }> {
    const agent = this.#options.agents.get(request.agent);
    if (agent === undefined) throw new UnknownAgentError(request.agent);
    const input = await checkValue(agent.input, request.input, `The input of agent "${agent.id}"`);
    const key = request.idempotencyKey;
    if (key === undefined) return await this.#create(agent, request, input);
    return await this.#starts.run(key, async () => {
      const known = await this.#options.journal.runByIdempotencyKey(key);
      if (known === undefined) return await this.#create(agent, request, input);
      if (known.fingerprint !== fingerprintOf(request)) throw new IdempotencyConflictError(key);
      return { run: await this.get(known.id), created: false };
    });
  }

  async get(runId: string): Promise<ListedRun> {
    const run = await this.#options.journal.run(runId);
    if (run === undefined) throw new RunNotFoundError(runId);
    return run;
  }

  list(filter: RunFilter): Promise<readonly ListedRun[]> {
    return this.#options.journal.runs(filter);
  }

  async history(
    runId: string,
    range: { readonly after: number; readonly limit: number },
  ): Promise<readonly HistoryEvent[]> {
    await this.get(runId);
    return await this.#options.journal.history(runId, range);
  }

  async signal(
    runId: string,
    request: SignalRequest,
  ): Promise<{ readonly id: string; readonly created: boolean }> {
    const key = request.idempotencyKey ?? null;
    const payload = recordable(request.payload, `The payload of signal "${request.name}"`);
    return await this.#signals.run(`${runId} ${key ?? ""}`, async () => {
      const run = await this.get(runId);
      const known = key === null ? undefined : await this.#options.journal.signalByIdempotencyKey(runId, key);
      if (known !== undefined && key !== null) {
        const same =
          known.name === request.name && fingerprint(known.payload ?? null) === fingerprint(payload ?? null);
        if (!same) throw new IdempotencyConflictError(key);
        return { id: known.id, created: false };
      }
      if (hasEnded(run.status))
        throw new WrongStatusError(runId, run.status, "a run that has ended takes no signals");
      await this.#scheduler.live.get(runId)?.signals.check(request.name, payload);
      const signal: SignalRecord = {
        id: this.#options.newId(),
        runId,
        name: request.name,
        idempotencyKey: key,
        payload,
        at: this.#options.clock.now(),
        takenBySeq: null,
      };
      return await this.#admit(async () => {
        await this.#options.journal.append([{ kind: "create-signal", signal }]);
        this.#hear(run, signal);
        return { id: signal.id, created: true };
      });
    });
  }

  async ended(runId: string, timeoutMs: number): Promise<ListedRun> {
    const { clock } = this.#options;
    const deadline = clock.now() + timeoutMs;
    for (;;) {
      const ending = this.#endings.next(runId, deadline);
      try {
        // A run that is alive has not ended: reading it would only tell so.
        if (!this.#scheduler.live.has(runId) || clock.now() >= deadline) {
          const run = await this.get(runId);
          if (hasEnded(run.status) || run.status === "paused" || clock.now() >= deadline) return run;
        }
        if (!this.#stopped) await ending.announced;
      } finally {
        ending.forget();
      }
      if (this.#stopped) throw new EngineStoppedError();
    }
  }

  async cancel(runId: string): Promise<ListedRun> {
    await this.#change(runId, async (run) => {
      if (run.status === "cancelled") return;
      if (hasEnded(run.status))
        throw new WrongStatusError(runId, run.status, "it cannot be cancelled any more");
      const live = this.#scheduler.live.get(runId);
      if (live !== undefined) return void (await live.cancel());
      await this.#control.cancel(run);
      this.#leave(run, "cancelled");
    });
    return await this.get(runId);
  }

  async pause(runId: string): Promise<ListedRun> {
    await this.#change(runId, async (run) => {
      if (run.status === "paused") return;
      if (hasEnded(run.status)) throw new WrongStatusError(runId, run.status, "it cannot be paused any more");
      const live = this.#scheduler.live.get(runId);
      if (live !== undefined) return void (await live.pause(pauseGraceMs));
      await this.#control.pause(run);
      this.#leave(run, "paused");
    });
    return await this.get(runId);
  }

  async resume(runId: string): Promise<ListedRun> {
    await this.#change(runId, async (run) => {
      if (run.status !== "paused")
        throw new WrongStatusError(runId, run.status, "only a paused run is resumed");
      await this.#control.resume(run);
      this.#enter(run);
    });
    return await this.get(runId);
  }

  async retry(runId: string, from?: StepPlace): Promise<ListedRun> {
    await this.#change(runId, async (run) => {
      if (!hasEnded(run.status))
        throw new WrongStatusError(runId, run.status, "only a run that has ended is retried");
      await this.#control.retry(run, from);
      this.#enter(run);
    });
    return await this.get(runId);
  }

  async fork(runId: string, from?: StepPlace): Promise<ListedRun> {
    const fork = await this.#admit(async () => {
      const made = await this.#control.fork(await this.get(runId), from);
      this.#enter(made);
      return made;
    });
    return await this.get(fork.id);
  }

  async remove(runId: string): Promise<void> {
    await this.#change(runId, async (run) => {
      if (!hasEnded(run.status))
        throw new WrongStatusError(runId, run.status, "only a run that has ended is deleted");
      await this.#control.remove(run);
    });
  }

  /** Runs that have not ended and that something can be done for. */
  get unfinished(): number {
    return this.#unfinished;
  }

  /** The runs in memory, by status. */
  countLive(): ReadonlyMap<RunStatus, number> {
    const counts = new Map<RunStatus, number>();
    for (const { status } of this.#scheduler.live.values()) counts.set(status, (counts.get(status) ?? 0) + 1);
    return counts;
  }

  activity(): EngineActivity {
    if (this.#left !== null) return this.#left;
    const live = [...this.#scheduler.live.values()].map(({ wakeAt }) => wakeAt ?? Infinity);
    const nextWakeAt = Math.min(this.#scheduler.nextWakeAt ?? Infinity, ...live);
    return {
      unfinished: this.#unfinished,
      running: this.#scheduler.busy,
      nextWakeAt: nextWakeAt === Infinity ? null : nextWakeAt,
    };
  }

  /**
   * Takes no more work, lets attempts that are under way reach their end within `graceMs`, and forgets every run. Gives
   * what was left to do.
   */
  async stop(graceMs: number): Promise<EngineActivity> {
    this.#stopped = true;
    await this.#scheduler.stop(graceMs);
    await Promise.allSettled(this.#admitted);
    this.#left ??= this.activity();
    this.#endings.announceAll();
    return this.#left;
  }

  async #create(
    agent: Agent,
    request: StartRequest,
    input: unknown,
  ): Promise<{ readonly run: ListedRun; readonly created: boolean }> {
    const run: RunRecord = {
      ...this.#newRun(agent, input, request.durability),
      idempotencyKey: request.idempotencyKey ?? null,
      fingerprint: request.idempotencyKey === undefined ? null : fingerprintOf(request),
    };
    const delayed = request.delayMs === undefined ? run : { ...run, wakeAt: run.createdAt + request.delayMs };
    return await this.#admit(async () => {
      await this.#options.journal.append([{ kind: "create-run", run: delayed }]);
      this.#adopt(delayed);
      return { run: { ...delayed, updatedAt: run.createdAt }, created: true };
    });
  }

  /** Lets what comes from outside write, unless the engine stops, which waits for what was let in. */
  async #admit<Result>(work: () => Promise<Result>): Promise<Result> {
    if (this.#stopped) throw new EngineStoppedError();
    const admitted = work();
    this.#admitted.add(admitted);
    try {
      return await admitted;
    } finally {
      this.#admitted.delete(admitted);
    }
  }

  /** A signal was committed. */
  #hear(run: RunRecord, signal: SignalRecord): void {
    this.#late.get(run.id)?.push(signal);
    const live = this.#stopped ? undefined : this.#scheduler.live.get(run.id);
    if (live !== undefined) live.signals.receive(signal);
    else if (run.status !== "queued" && run.status !== "paused") this.#scheduler.wake(run.id, run.agent);
  }

  #newRun(agent: Agent, input: unknown, atLeast: Durability | undefined): RunRecord {
    const wanted = [this.#options.durability, agent.durability, atLeast];
    return {
      id: this.#options.newId(),
      agent: agent.id,
      version: null,
      status: "queued",
      durability: wanted.includes("replicated") ? "replicated" : "local",
      input,
      output: undefined,
      error: null,
      state: undefined,
      parent: null,
      idempotencyKey: null,
      fingerprint: null,
      createdAt: this.#options.clock.now(),
      startedAt: null,
      endedAt: null,
      wakeAt: null,
    };
  }

  /** A run that was committed just now. */
  #adopt(run: RunRecord): void {
    this.#unfinished += 1;
    const agent = this.#agents.get(run.agent);
    if (run.wakeAt !== null) this.#scheduler.wakeAt({ at: run.wakeAt, runId: run.id, agent: run.agent });
    else if (agent === undefined) this.#scheduler.wake(run.id, run.agent);
    else
      this.#scheduler.takeNew(run.id, run.agent, () =>
        this.#execution(run, agent, { history: [], inbox: [] }),
      );
  }

  /** A run that counts as unfinished again, and goes on. */
  #enter({ id, agent }: RunRecord): void {
    this.#unfinished += 1;
    this.#scheduler.wake(id, agent);
  }

  /** A run that has ended or was paused. */
  #leave({ id, parent }: RunRecord, status: RunStatus): void {
    this.#unfinished -= 1;
    this.#scheduler.forget(id);
    this.#endings.announce(id);
    if (!hasEnded(status)) return;
    this.#cancelChildren(id).catch(this.#options.onTrouble);
    if (parent !== null) this.#lookAt(parent).catch(this.#options.onTrouble);
  }

  /** What a run waited for goes with it. */
  async #cancelChildren(runId: string): Promise<void> {
    for (const child of await this.#options.journal.children(runId))
      if (!hasEnded(child.status) && !this.#stopped) await this.cancel(child.id).catch(ignoreEnded);
  }

  async #lookAt(runId: string): Promise<void> {
    if (this.#stopped || this.#scheduler.live.has(runId)) return;
    const run = await this.#options.journal.run(runId);
    if (run?.status === "waiting") this.#scheduler.wake(runId, run.agent);
  }

  /** Runs `change` on the run as it is, while nobody else changes or loads it. */
  async #change(runId: string, change: (run: ListedRun) => Promise<void>): Promise<void> {
    await this.#changes.run(runId, async () => this.#admit(async () => change(await this.get(runId))));
  }

  /** Brings a run to life; undefined if it has ended, is paused or is not due. */
  #load(runId: string): Promise<Execution | undefined> {
    return this.#changes.run(runId, async () => {
      const { journal, clock, log } = this.#options;
      const run = await journal.run(runId);
      if (run === undefined || hasEnded(run.status) || run.status === "paused") return undefined;
      const agent = this.#agents.get(run.agent);
      if (agent === undefined) {
        log.error(
          { run: runId, agent: run.agent },
          "a run waits: its agent is not in the agents' folder any more",
        );
        this.#scheduler.wakeAt({ at: clock.now() + agentRecheckMs, runId, agent: run.agent });
        return undefined;
      }
      return await this.#read(run, agent);
    });
  }

  async #read(run: RunRecord, agent: Agent): Promise<Execution> {
    const late: SignalRecord[] = [];
    this.#late.set(run.id, late);
    try {
      const history = await wholeHistory(this.#options.journal, run.id);
      const inbox = await this.#options.journal.inbox(run.id);
      if (history.length > 0) {
        const facts = { event: "run.resumed", run: run.id, agent: run.agent, replayed: history.length };
        this.#options.log.info(facts, "run resumed");
      }
      const execution = this.#execution(run, agent, { history, inbox });
      for (const signal of late) execution.signals.receive(signal);
      return execution;
    } finally {
      this.#late.delete(run.id);
    }
  }

  #execution(
    run: RunRecord,
    agent: Agent,
    past: { readonly history: readonly HistoryEvent[]; readonly inbox: readonly SignalRecord[] },
  ): Execution {
    const counting = {
      lastSeq: past.history.at(-1)?.seq ?? 0,
      rows: rowsThatCount(past.history),
      inbox: past.inbox,
    };
    return new Execution(run, agent, counting, this.#ports());
  }

  #ports(): ExecutionPorts {
    const { journal, clock, log, tenantId, newId, random } = this.#options;
    return {
      journal,
      clock,
      log,
      tenantId,
      newId,
      random,
      prepareRun: async (agentId, input, parent) => {
        const agent = this.#options.agents.get(agentId);
        if (agent === undefined) throw new UnknownAgentError(agentId);
        const checked = await checkValue(agent.input, input, `The input of agent "${agentId}"`);
        return { ...this.#newRun(agent, checked, parent?.durability), parent: parent?.id ?? null };
      },
      adopt: (run) => this.#adopt(run),
      childEnd: (runId) => this.#end(runId),
      afterFailure: (run, error) => {
        const agent = this.#agents.get(failureAgentId(run.agent));
        if (agent === undefined) return [];
        const after = this.#newRun(agent, failureInput(run, error), run.durability);
        return [{ kind: "create-run", run: after }];
      },
      onSettled: (execution) => this.#leave(execution.run, execution.status),
      onWaiting: (execution) => this.#scheduler.noteWaiting(execution.run.id),
    };
  }

  /** Resolves when the run has ended, however long that takes; never, once it is forgotten. */
  #end(runId: string): { readonly promise: Promise<RunRecord>; readonly forget: () => void } {
    let forget = (): void => {};
    const wait = async (): Promise<RunRecord> => {
      for (;;) {
        const ending = this.#endings.next(runId, null);
        forget = ending.forget;
        const run = await this.get(runId);
        if (!hasEnded(run.status)) await ending.announced;
        ending.forget();
        if (hasEnded(run.status)) return run;
      }
    };
    return { promise: wait(), forget: () => forget() };
  }
}

function fingerprintOf({ agent, input, delayMs, durability }: StartRequest): string {
  return fingerprint({ agent, input: input ?? null, delayMs, durability });
}

/** A child may have ended by itself meanwhile. */
function ignoreEnded(error: unknown): void {
  if (!(error instanceof WrongStatusError)) throw error;
}
