import type { Agent } from "./agent.ts";
import type { Clock } from "./clock.ts";
import type { CrashLoopError } from "./crash-loop.ts";
import {
  EngineStoppedError,
  IdempotencyConflictError,
  RunNotFoundError,
  UnknownAgentError,
  WrongStatusError,
} from "./errors.ts";
import type { Execution } from "./execution.ts";
import type { Guard } from "./guard.ts";
import { hasEnded, type Durability, type HistoryEvent, type Journal, type ListedRun } from "./journal.ts";
import type { RunFilter, RunRecord, RunStatus, SignalRecord, Write } from "./journal.ts";
import { fingerprint } from "./json.ts";
import { KeyedQueue } from "./keyed-queue.ts";
import { Lives } from "./lives.ts";
import type { EngineLog } from "./log.ts";
import type { StepPlace } from "./retry-point.ts";
import { RunControl } from "./run-control.ts";
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
  /** By default nobody watches. */
  readonly guard?: Guard;
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

/** What came in before a stop gets so long to be written. */
const admittedGraceMs = 2_000;
/** Attempts of a run that is paused get so long to reach their end. */
const pauseGraceMs = 10_000;

/** The runs of one tenant, as long as the tenant is open on this host. */
export class Engine implements Runs {
  readonly #options: EngineOptions;
  readonly #lives: Lives;
  readonly #control: RunControl;
  readonly #starts = new KeyedQueue();
  readonly #signals = new KeyedQueue();
  /** What came in from outside and is being written. */
  readonly #admitted = new Set<Promise<unknown>>();
  #stopped = false;
  /** What was left to do when the engine had stopped. */
  #left: EngineActivity | null = null;

  constructor(options: EngineOptions) {
    this.#options = options;
    this.#lives = new Lives(options, (runId) => this.cancel(runId).then(ignore, ignoreEnded));
    this.#control = new RunControl(options.journal, options.clock, options.newId);
  }

  /** Takes up every run that has not ended. */
  open(): Promise<void> {
    return this.#lives.open();
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
      await this.#lives.live.get(runId)?.signals.check(request.name, payload);
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
        this.#lives.hear(run, signal);
        return { id: signal.id, created: true };
      });
    });
  }

  async ended(runId: string, timeoutMs: number): Promise<ListedRun> {
    const { clock } = this.#options;
    const deadline = clock.now() + timeoutMs;
    for (;;) {
      const ending = this.#lives.endings.next(runId, deadline);
      try {
        // A run that is alive has not ended: reading it would only tell so.
        if (!this.#lives.live.has(runId) || clock.now() >= deadline) {
          const run = await this.get(runId);
          if (hasEnded(run.status) || run.status === "paused" || clock.now() >= deadline) return run;
        }
        if (!this.#stopped) {
          const run = await ending.announced;
          // What was written a moment ago need not be read.
          if (run !== undefined && !this.#stopped) return run;
        }
      } finally {
        ending.forget();
      }
      if (this.#stopped) throw new EngineStoppedError();
    }
  }

  cancel(runId: string): Promise<ListedRun> {
    return this.#change(runId, async (run, live) => {
      if (run.status === "cancelled") return;
      if (hasEnded(run.status))
        throw new WrongStatusError(runId, run.status, "it cannot be cancelled any more");
      if (live !== undefined) {
        live.cancel();
        return await this.#lives.endWritten(live);
      }
      await this.#control.cancel(run);
      this.#lives.leave(run, "cancelled", true);
    });
  }

  pause(runId: string): Promise<ListedRun> {
    return this.#change(runId, async (run, live) => {
      if (run.status === "paused") return;
      if (hasEnded(run.status)) throw new WrongStatusError(runId, run.status, "it cannot be paused any more");
      if (live !== undefined) {
        await live.pause(pauseGraceMs);
        return await this.#lives.endWritten(live);
      }
      await this.#control.pause(run);
      this.#lives.leave(run, "paused", false);
    });
  }

  /** Pauses a run that must not be taken up, because of `error`. Called before `open`. */
  quarantine(runId: string, error: CrashLoopError): Promise<ListedRun> {
    return this.#change(runId, (run) => this.#control.quarantine(run, error));
  }

  resume(runId: string): Promise<ListedRun> {
    return this.#change(runId, async (run) => {
      if (run.status !== "paused")
        throw new WrongStatusError(runId, run.status, "only a paused run is resumed");
      await this.#control.resume(run);
      this.#lives.enter(run);
    });
  }

  retry(runId: string, from?: StepPlace): Promise<ListedRun> {
    return this.#change(runId, async (run) => {
      if (!hasEnded(run.status))
        throw new WrongStatusError(runId, run.status, "only a run that has ended is retried");
      await this.#control.retry(run, from);
      this.#lives.enter(run);
    });
  }

  async fork(runId: string, from?: StepPlace): Promise<ListedRun> {
    const fork = await this.#admit(async () => {
      const made = await this.#control.fork(await this.get(runId), from);
      this.#lives.enter(made);
      return made;
    });
    return await this.get(fork.id);
  }

  async remove(runId: string): Promise<void> {
    const get = (id: string): Promise<ListedRun> => this.get(id);
    await this.#admit(() =>
      this.#lives.change(runId, get, async (run) => {
        if (!hasEnded(run.status))
          throw new WrongStatusError(runId, run.status, "only a run that has ended is deleted");
        const parent = run.parent === null ? undefined : await this.#options.journal.run(run.parent);
        if (parent !== undefined && !hasEnded(parent.status))
          throw new WrongStatusError(runId, run.status, `run "${parent.id}" waits for it, and has not ended`);
        await this.#control.remove(run);
      }),
    );
  }

  /** Runs that have not ended and that something can be done for. */
  get unfinished(): number {
    return this.#lives.unfinished;
  }

  /** Runs that are to come to life as soon as there is room, or are being read. */
  get coming(): number {
    return this.#lives.coming;
  }

  /** Runs in memory, by status. */
  countLive(): ReadonlyMap<RunStatus, number> {
    const counts = new Map<RunStatus, number>();
    for (const { status } of this.#lives.live.values()) counts.set(status, (counts.get(status) ?? 0) + 1);
    return counts;
  }

  /** Runs that are not in memory and wait for a moment. */
  get parked(): number {
    return this.#lives.parked;
  }

  activity(): EngineActivity {
    const { unfinished, busy: running, nextWakeAt } = this.#lives;
    return this.#left ?? { unfinished, running, nextWakeAt };
  }

  /**
   * Takes no more work, lets attempts that are under way reach their end within `graceMs`, and forgets every run. Gives
   * what was left to do.
   */
  async stop(graceMs: number): Promise<EngineActivity> {
    this.#stopped = true;
    await this.#lives.stop(graceMs);
    await this.#settled(admittedGraceMs);
    this.#left ??= this.activity();
    this.#lives.endings.announceAll();
    return this.#left;
  }

  /** Resolves when what was let in is written, or cannot be in time. */
  async #settled(graceMs: number): Promise<void> {
    const { clock } = this.#options;
    const late = Promise.withResolvers<void>();
    const cancel = clock.setTimer(clock.now() + graceMs, late.resolve);
    await Promise.race([Promise.allSettled(this.#admitted), late.promise]);
    cancel();
  }

  async #create(
    agent: Agent,
    request: StartRequest,
    input: unknown,
  ): Promise<{ readonly run: ListedRun; readonly created: boolean }> {
    const run: RunRecord = {
      ...this.#lives.newRun(agent, input, request.durability),
      idempotencyKey: request.idempotencyKey ?? null,
      fingerprint: request.idempotencyKey === undefined ? null : fingerprintOf(request),
    };
    const delayed = request.delayMs === undefined ? run : { ...run, wakeAt: run.createdAt + request.delayMs };
    const make = async (): Promise<{ readonly run: ListedRun; readonly created: boolean }> => {
      const first = this.#lives.begin(delayed);
      const rows = first.rows.map((event): Write => ({ kind: "event", event }));
      await this.#options.journal.append([{ kind: "create-run", run: first.run }, ...rows]);
      this.#lives.adopt(first.run, first.rows);
      return { run: { ...first.run, updatedAt: run.createdAt }, created: true };
    };
    return await this.#admit(() => this.#lives.alone(run.id, make));
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

  /** Runs `change` on the run as it is, while nobody else changes or loads it; gives the run as it is then. */
  async #change(
    runId: string,
    change: (run: ListedRun, live: Execution | undefined) => Promise<void>,
  ): Promise<ListedRun> {
    const get = (id: string): Promise<ListedRun> => this.get(id);
    await this.#admit(() => this.#lives.change(runId, get, change));
    return await this.get(runId);
  }
}

function fingerprintOf({ agent, input, delayMs, durability }: StartRequest): string {
  return fingerprint({ agent, input: input ?? null, delayMs, durability });
}

function ignore(): void {}

/** A child may have ended by itself meanwhile. */
function ignoreEnded(error: unknown): void {
  if (!(error instanceof WrongStatusError)) throw error;
}
