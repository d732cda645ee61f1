import type { Agent } from "./agent.ts";
import type { Clock } from "./clock.ts";
import {
  EngineStoppedError,
  IdempotencyConflictError,
  RunNotFoundError,
  UnknownAgentError,
  WrongStatusError,
} from "./errors.ts";
import { Execution } from "./execution.ts";
import { hasEnded, type Durability, type HistoryEvent, type Journal, type ListedRun } from "./journal.ts";
import type { RunFilter, RunRecord, RunStatus, SignalRecord } from "./journal.ts";
import { fingerprint } from "./json.ts";
import { KeyedQueue } from "./keyed-queue.ts";
import type { EngineLog } from "./log.ts";
import { RunEndings } from "./run-endings.ts";
import type { Runs, SignalRequest, StartRequest } from "./runs.ts";
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
  /** Told when a run could not be taken up: the tenant should be opened anew. */
  readonly onTrouble: (error: unknown) => void;
}

/** What a tenant's runs are up to, for whoever decides whether the tenant may be let go. */
export interface EngineActivity {
  /** Runs that have not ended. */
  readonly unfinished: number;
  /** Runs that something is being done for now. */
  readonly running: number;
  /** When the earliest wait of any run is over; null if none waits for a time. */
  readonly nextWakeAt: number | null;
}

/** A tenant with a run whose agent is missing is looked at so often: the next deploy may bring the agent back. */
const agentRecheckMs = 10 * 60_000;

/** So many rows are read at a time when a run's history is loaded. */
const historyPage = 5_000;

/** The runs of one tenant, as long as the tenant is open on this host. */
export class Engine implements Runs {
  readonly #options: EngineOptions;
  readonly #live = new Map<string, Execution>();
  /** Runs that wait for their delay, and those whose agent this code does not have. */
  readonly #held = new Map<string, { readonly wakeAt: number | null; readonly cancel: () => void }>();
  /** Signals that came in for a run while its history was being read. */
  readonly #loading = new Map<string, SignalRecord[]>();
  /** Runs that something is to be done for and that were not taken up yet, or came too late to be. */
  readonly #due = new Set<string>();
  /** What came in from outside and is being written. */
  readonly #admitted = new Set<Promise<unknown>>();
  readonly #endings: RunEndings;
  readonly #starts = new KeyedQueue();
  readonly #signals = new KeyedQueue();
  #stopped = false;
  /** What was left to do when the engine had stopped. */
  #left: EngineActivity | null = null;

  constructor(options: EngineOptions) {
    this.#options = options;
    this.#endings = new RunEndings(options.clock);
  }

  /** Takes up every run that has not ended. */
  async open(): Promise<void> {
    const unfinished = await this.#options.journal.unfinishedRuns();
    const runs = unfinished.filter(({ status }) => status !== "paused");
    for (const { id } of runs) this.#due.add(id);
    for (const run of runs) await this.#schedule(run);
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
      if (key !== null) {
        const known = await this.#options.journal.signalByIdempotencyKey(runId, key);
        if (known !== undefined) {
          const same =
            known.name === request.name &&
            fingerprint(known.payload ?? null) === fingerprint(payload ?? null);
          if (!same) throw new IdempotencyConflictError(key);
          return { id: known.id, created: false };
        }
      }
      if (hasEnded(run.status))
        throw new WrongStatusError(runId, run.status, "a run that has ended takes no signals");
      await this.#live.get(runId)?.signals.check(request.name, payload);
      const signal = {
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
        this.#loading.get(runId)?.push(signal);
        this.#live.get(runId)?.signals.receive(signal);
        if (this.#stopped) this.#due.add(runId);
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
        const run = await this.get(runId);
        if (hasEnded(run.status) || run.status === "paused" || clock.now() >= deadline) return run;
        if (!this.#stopped) await ending.announced;
      } finally {
        ending.forget();
      }
      if (this.#stopped) throw new EngineStoppedError();
    }
  }

  /** Runs that have not ended and that something can be done for. */
  get unfinished(): number {
    const { size } = this.#live;
    return this.#left?.unfinished ?? size + this.#held.size + this.#loading.size + this.#due.size;
  }

  /** The runs in memory, by status. */
  countLive(): ReadonlyMap<RunStatus, number> {
    const counts = new Map<RunStatus, number>([["queued", this.#held.size]]);
    for (const { status } of this.#live.values()) counts.set(status, (counts.get(status) ?? 0) + 1);
    return counts;
  }

  activity(): EngineActivity {
    if (this.#left !== null) return this.#left;
    const live = [...this.#live];
    // A run that has ended, or was paused, and is still here has not been written so.
    const working = live.filter(([, { status }]) => status !== "sleeping" && status !== "waiting");
    const running = new Set([...this.#due, ...this.#loading.keys(), ...working.map(([id]) => id)]);
    const wakes = [...live.map(([, execution]) => execution), ...this.#held.values()].flatMap(({ wakeAt }) =>
      wakeAt === null ? [] : [wakeAt],
    );
    return {
      unfinished: new Set([...running, ...this.#live.keys(), ...this.#held.keys()]).size,
      running: running.size,
      nextWakeAt: wakes.length === 0 ? null : Math.min(...wakes),
    };
  }

  /**
   * Takes no more work, lets attempts that are under way reach their end within `graceMs`, and forgets every run. Gives
   * what was left to do.
   */
  async stop(graceMs: number): Promise<EngineActivity> {
    this.#stopped = true;
    for (const { cancel } of this.#held.values()) cancel();
    await Promise.all([...this.#live.values()].map((execution) => execution.stop(graceMs)));
    await Promise.allSettled(this.#admitted);
    this.#left ??= this.activity();
    this.#held.clear();
    this.#live.clear();
    this.#endings.announceAll();
    return this.#left;
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

  async #create(
    agent: Agent,
    request: StartRequest,
    input: unknown,
  ): Promise<{ readonly run: ListedRun; readonly created: boolean }> {
    const { clock, durability, newId, journal } = this.#options;
    const createdAt = clock.now();
    const wanted = [durability, agent.durability, request.durability];
    const run: RunRecord = {
      id: newId(),
      agent: agent.id,
      version: null,
      status: "queued",
      durability: wanted.includes("replicated") ? "replicated" : "local",
      input,
      output: undefined,
      error: null,
      parent: null,
      idempotencyKey: request.idempotencyKey ?? null,
      fingerprint: request.idempotencyKey === undefined ? null : fingerprintOf(request),
      createdAt,
      startedAt: null,
      endedAt: null,
      wakeAt: request.delayMs === undefined ? null : createdAt + request.delayMs,
    };
    return await this.#admit(async () => {
      await journal.append([{ kind: "create-run", run }]);
      this.#due.add(run.id);
      await this.#schedule(run, { fresh: true });
      return { run: { ...run, updatedAt: createdAt }, created: true };
    });
  }

  /** Runs what is due now, or when its delay is over. `fresh`: nobody can have written to it since it was made. */
  async #schedule(run: RunRecord, { fresh = false } = {}): Promise<void> {
    if (this.#stopped) return;
    this.#due.delete(run.id);
    const { clock, agents, log } = this.#options;
    const agent = agents.get(run.agent);
    if (agent === undefined) {
      log.error(
        { run: run.id, agent: run.agent },
        "a run waits: its agent is not in the agents' folder any more",
      );
      this.#held.set(run.id, { wakeAt: clock.now() + agentRecheckMs, cancel: () => {} });
      return;
    }
    if (run.status === "queued" && run.wakeAt !== null && run.wakeAt > clock.now()) {
      const cancel = clock.setTimer(run.wakeAt, () => {
        this.#held.delete(run.id);
        this.#load(run, agent).catch(this.#options.onTrouble);
      });
      this.#held.set(run.id, { wakeAt: run.wakeAt, cancel });
      return;
    }
    if (fresh) this.#execute(run, agent, { history: [], inbox: [] });
    else await this.#load(run, agent);
  }

  async #load(run: RunRecord, agent: Agent): Promise<void> {
    const late: SignalRecord[] = [];
    this.#loading.set(run.id, late);
    const history = await this.#wholeHistory(run.id);
    const inbox = await this.#options.journal.inbox(run.id);
    this.#loading.delete(run.id);
    if (this.#stopped) return void this.#due.add(run.id);
    if (history.length > 0) {
      const facts = { event: "run.resumed", run: run.id, agent: run.agent, replayed: history.length };
      this.#options.log.info(facts, "run resumed");
    }
    const execution = this.#execute(run, agent, { history, inbox });
    for (const signal of late) execution.signals.receive(signal);
  }

  #execute(
    run: RunRecord,
    agent: Agent,
    past: { readonly history: readonly HistoryEvent[]; readonly inbox: readonly SignalRecord[] },
  ): Execution {
    const { journal, clock, log, tenantId } = this.#options;
    const execution = new Execution(run, agent, past, {
      journal,
      clock,
      log,
      tenantId,
      onSettled: (runId) => {
        this.#live.delete(runId);
        this.#endings.announce(runId);
      },
    });
    this.#live.set(run.id, execution);
    execution.start().catch(this.#options.onTrouble);
    return execution;
  }

  async #wholeHistory(runId: string): Promise<readonly HistoryEvent[]> {
    const all: HistoryEvent[] = [];
    for (;;) {
      const page = await this.#options.journal.history(runId, {
        after: all.at(-1)?.seq ?? 0,
        limit: historyPage,
      });
      all.push(...page);
      if (page.length < historyPage) return all;
    }
  }
}

function fingerprintOf({ agent, input, delayMs, durability }: StartRequest): string {
  return fingerprint({ agent, input: input ?? null, delayMs, durability });
}
