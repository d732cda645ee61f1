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
  readonly #listeners = new Map<string, Set<() => void>>();
  readonly #starts = new KeyedQueue();
  readonly #signals = new KeyedQueue();
  #stopped = false;

  constructor(options: EngineOptions) {
    this.#options = options;
  }

  /** Takes up every run that has not ended. */
  async open(): Promise<void> {
    for (const run of await this.#options.journal.unfinishedRuns()) {
      if (this.#stopped) return;
      if (run.status !== "paused") await this.#schedule(run);
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
      await this.#options.journal.append([{ kind: "create-signal", signal }]);
      this.#loading.get(runId)?.push(signal);
      this.#live.get(runId)?.signals.receive(signal);
      return { id: signal.id, created: true };
    });
  }

  async ended(runId: string, timeoutMs: number): Promise<ListedRun> {
    const { clock } = this.#options;
    const deadline = clock.now() + timeoutMs;
    for (;;) {
      const changed = this.#nextSettling(runId, deadline);
      const run = await this.get(runId);
      if (hasEnded(run.status) || run.status === "paused" || clock.now() >= deadline) {
        changed.forget();
        return run;
      }
      await changed.promise;
      if (this.#stopped) throw new EngineStoppedError();
    }
  }

  /** Runs that have not ended and that something can be done for. */
  get unfinished(): number {
    return this.#live.size + this.#held.size + this.#loading.size;
  }

  /** The runs in memory, by status. */
  countLive(): ReadonlyMap<RunStatus, number> {
    const counts = new Map<RunStatus, number>([["queued", this.#held.size]]);
    for (const { status } of this.#live.values()) counts.set(status, (counts.get(status) ?? 0) + 1);
    return counts;
  }

  activity(): EngineActivity {
    const live = [...this.#live.values()];
    const wakes = [...live, ...this.#held.values()].flatMap(({ wakeAt }) =>
      wakeAt === null ? [] : [wakeAt],
    );
    return {
      unfinished: this.unfinished,
      running:
        this.#loading.size + live.filter(({ status }) => status === "running" || status === "queued").length,
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
    const left = this.activity();
    this.#held.clear();
    this.#live.clear();
    for (const runId of this.#listeners.keys()) this.#announce(runId);
    return left;
  }

  async #create(
    agent: Agent,
    request: StartRequest,
    input: unknown,
  ): Promise<{ readonly run: ListedRun; readonly created: boolean }> {
    if (this.#stopped) throw new EngineStoppedError();
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
    await journal.append([{ kind: "create-run", run }]);
    await this.#schedule(run, { fresh: true });
    return { run: { ...run, updatedAt: createdAt }, created: true };
  }

  /** Runs it now, or when its delay is over. `fresh`: nobody can have written to it since it was made. */
  async #schedule(run: RunRecord, { fresh = false } = {}): Promise<void> {
    if (this.#stopped) return;
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
    if (this.#stopped) return;
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
        this.#announce(runId);
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

  #nextSettling(
    runId: string,
    deadline: number,
  ): { readonly promise: Promise<void>; readonly forget: () => void } {
    let settle = (): void => {};
    const promise = new Promise<void>((resolve) => (settle = resolve));
    const listeners = this.#listeners.get(runId) ?? new Set();
    this.#listeners.set(runId, listeners);
    const cancelTimer = this.#options.clock.setTimer(deadline, () => listener());
    const forget = (): void => {
      cancelTimer();
      listeners.delete(listener);
      if (listeners.size === 0) this.#listeners.delete(runId);
    };
    const listener = (): void => {
      forget();
      settle();
    };
    listeners.add(listener);
    return { promise, forget };
  }

  #announce(runId: string): void {
    for (const listener of this.#listeners.get(runId) ?? []) listener();
  }
}

function fingerprintOf({ agent, input, delayMs, durability }: StartRequest): string {
  return fingerprint({ agent, input: input ?? null, delayMs, durability });
}
