import type { Agent } from "./agent.ts";
import { childEnd } from "./child-end.ts";
import { UnknownAgentError, UnreadableRunError, WrongStatusError } from "./errors.ts";
import type { EngineOptions } from "./engine.ts";
import type { ExecutionPorts } from "./execution-ports.ts";
import { Execution } from "./execution.ts";
import { failureAgentId, failureAgents, failureInput } from "./failure-agent.ts";
import { noGuard } from "./guard.ts";
import { hasEnded, type Durability, type HistoryEvent, type RunRecord, type RunStatus } from "./journal.ts";
import type { ListedRun, SignalRecord } from "./journal.ts";
import { KeyedQueue } from "./keyed-queue.ts";
import { startedData, whatCounts, wholeHistory, type Past } from "./past.ts";
import { RunEndings } from "./run-endings.ts";
import { Scheduler } from "./scheduler.ts";
import { checkValue } from "./schema.ts";

/** A tenant with a run whose agent is missing is looked at so often: the next deploy may bring the agent back. */
const agentRecheckMs = 10 * 60_000;
/** A run that only waits leaves memory after so long: a child or a signal that comes sooner finds it there. */
const parkAfterMs = 5_000;
/** A change of a run that is ending waits so long for its last row. */
const endWrittenWithinMs = 5_000;

/** The runs of a tenant that have not ended: how they come to life, hear of what comes for them, and leave. */
export class Lives {
  /** Told of a run that was awaited by one that has ended. */
  readonly #cancelChild: (runId: string) => Promise<void>;
  readonly #options: EngineOptions;
  /** Those that may be started, and those that only the engine starts. */
  readonly #agents: ReadonlyMap<string, Agent>;
  readonly #scheduler: Scheduler;
  readonly #ports: ExecutionPorts;
  /** Signals that came in for a run while it was being read. */
  readonly #late = new Map<string, SignalRecord[]>();
  /** One change of a run from outside, or reading of it, at a time. */
  readonly #changes = new KeyedQueue();
  readonly endings: RunEndings;
  #unfinished = 0;
  #stopped = false;

  constructor(options: EngineOptions, cancelChild: (runId: string) => Promise<void>) {
    this.#options = options;
    this.#cancelChild = cancelChild;
    this.#agents = new Map([...options.agents, ...failureAgents(options.agents.values())]);
    this.endings = new RunEndings(options.clock);
    this.#ports = this.#makePorts();
    this.#scheduler = new Scheduler({
      clock: options.clock,
      maxLive: options.maxLive,
      parkAfterMs,
      load: (runId, begin) => this.#load(runId, begin),
      onTrouble: options.onTrouble,
    });
  }

  /** Those in memory. */
  get live(): ReadonlyMap<string, Execution> {
    return this.#scheduler.live;
  }

  /** Runs that have not ended and that something can be done for. */
  get unfinished(): number {
    return this.#unfinished;
  }

  /** Runs that something is being done for now, or will be as soon as there is room. */
  get busy(): number {
    return this.#scheduler.busy;
  }

  /** Runs that are to come to life as soon as there is room, or are being read. */
  get coming(): number {
    return this.#scheduler.coming;
  }

  /** Runs that are not in memory and wait for a moment. */
  get parked(): number {
    return this.#scheduler.parked;
  }

  /** When the earliest wait of any run is over; null if none waits for a time. */
  get nextWakeAt(): number | null {
    const live = [...this.live.values()].map(({ wakeAt }) => wakeAt ?? Infinity);
    const next = Math.min(this.#scheduler.nextWakeAt ?? Infinity, ...live);
    return next === Infinity ? null : next;
  }

  /** Takes up every run that has not ended: at once what has something to do, at its time what waits for one. */
  async open(): Promise<void> {
    const { journal, clock } = this.#options;
    const lookAt = new Set(await journal.runsToLookAt());
    const orphans = await journal.orphans();
    for (const { id, agent, status, wakeAt } of await journal.unfinishedRuns()) {
      if (status === "paused") continue;
      this.#unfinished += 1;
      const waits = status === "sleeping" || status === "waiting" || (status === "queued" && wakeAt !== null);
      if (!waits || lookAt.has(id)) this.#scheduler.wake(id, agent);
      else if (wakeAt !== null)
        this.#scheduler.wakeAt({ at: Math.max(wakeAt, clock.now()), runId: id, agent });
    }
    for (const id of orphans) this.#cancelChild(id).catch(this.#options.onTrouble);
  }

  async stop(graceMs: number): Promise<void> {
    this.#stopped = true;
    await this.#scheduler.stop(graceMs);
  }

  /**
   * The run as it is committed first: begun, if there is room for it, so that its first row of history costs no commit of
   * its own. It is adopted with the same rows.
   */
  begin(run: RunRecord): { readonly run: RunRecord; readonly rows: readonly HistoryEvent[] } {
    if (run.wakeAt !== null || !this.#scheduler.hasRoom) return { run, rows: [] };
    const place = { runId: run.id, seq: 1, at: run.createdAt, path: "", name: "", occurrence: 0, attempt: 0 };
    const started: HistoryEvent = { ...place, kind: "run.started", data: startedData(run) };
    return { run: { ...run, status: "running", startedAt: run.createdAt }, rows: [started] };
  }

  /** Makes a run and adopts it: nobody changes it between the two, although it can be read by then. */
  alone<Result>(runId: string, make: () => Promise<Result>): Promise<Result> {
    return this.#changes.run(runId, make);
  }

  /** A run that was committed just now by another one. It is read again: it may have been changed since, or cancelled with that one. */
  adoptChild({ id, agent }: RunRecord): void {
    this.#unfinished += 1;
    this.#scheduler.wake(id, agent);
  }

  /** A run that was committed just now, with the rows of history that it has. */
  adopt(run: RunRecord, history: readonly HistoryEvent[] = []): void {
    this.#unfinished += 1;
    const agent = this.#agents.get(run.agent);
    if (run.wakeAt !== null) this.#scheduler.wakeAt({ at: run.wakeAt, runId: run.id, agent: run.agent });
    else if (agent === undefined) this.#scheduler.wake(run.id, run.agent);
    else
      this.#scheduler.takeNew(run.id, run.agent, () => this.#execution(run, agent, { history, inbox: [] }));
  }

  /** A run that counts as unfinished again, and goes on. */
  enter({ id, agent }: RunRecord): void {
    this.#unfinished += 1;
    this.#scheduler.wake(id, agent);
  }

  /**
   * A run that has ended or was paused, and is `status` now. `hasChildren`: it may have waited for others. `written`: all of
   * it, where that is known.
   */
  leave(
    { id, parent, status: before }: RunRecord,
    status: RunStatus,
    hasChildren: boolean,
    written?: ListedRun,
  ): void {
    // One that was paused before has been counted out by that.
    if (before !== "paused") this.#unfinished -= 1;
    this.#scheduler.forget(id);
    this.endings.announce(id, written);
    if (!hasEnded(status)) return;
    if (hasChildren) this.#cancelChildren(id).catch(this.#options.onTrouble);
    if (parent !== null) this.#lookAt(parent).catch(this.#options.onTrouble);
  }

  /** A signal was committed. */
  hear(run: RunRecord, signal: SignalRecord): void {
    this.#late.get(run.id)?.push(signal);
    const live = this.#stopped ? undefined : this.live.get(run.id);
    if (live !== undefined) live.signals.receive(signal);
    // It may have begun, waited and left memory since it was read.
    else if (run.status === "queued" || run.status === "paused")
      this.#lookAt(run.id).catch(this.#options.onTrouble);
    else this.#scheduler.wake(run.id, run.agent);
  }

  /**
   * Runs `change` on the run as it is, while nobody else changes or reads it; `live` is undefined if it is not in memory.
   * Throws what `get` throws.
   */
  async change<Run extends RunRecord>(
    runId: string,
    get: (runId: string) => Promise<Run>,
    change: (run: Run, live: Execution | undefined) => Promise<void>,
  ): Promise<void> {
    await this.#changes.run(runId, async () => {
      for (;;) {
        const live = this.live.get(runId);
        if (live?.isEnding === true) await this.endWritten(live);
        const run = await get(runId);
        // One that ended while it was read is read again: nothing may be written behind its end.
        if (this.live.get(runId) === live && live?.isEnding !== true) return await change(run, live);
      }
    });
  }

  newRun(agent: Agent, input: unknown, atLeast: Durability | undefined): RunRecord {
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

  /** Resolves when the row that ends or pauses the run is written. Throws WrongStatusError if that takes too long: the disk may be full. */
  async endWritten(live: Execution): Promise<void> {
    const { clock } = this.#options;
    const late = Promise.withResolvers<never>();
    const cancel = clock.setTimer(clock.now() + endWrittenWithinMs, () =>
      late.reject(
        new WrongStatusError(live.run.id, live.status, "that is still being written; try again in a while"),
      ),
    );
    try {
      await Promise.race([live.gone, late.promise]);
    } finally {
      cancel();
    }
  }

  /** What a run waited for goes with it. */
  async #cancelChildren(runId: string): Promise<void> {
    for (const child of await this.#options.journal.children(runId))
      if (!hasEnded(child.status) && !this.#stopped) await this.#cancelChild(child.id);
  }

  async #lookAt(runId: string): Promise<void> {
    if (this.#stopped || this.live.has(runId)) return;
    const run = await this.#options.journal.run(runId);
    if (run?.status === "waiting") this.#scheduler.wake(runId, run.agent);
  }

  /** Brings a run to life; false if it has ended, is paused or cannot be read. */
  #load(runId: string, begin: (execution: Execution) => boolean): Promise<boolean> {
    return this.#changes.run(runId, async () => {
      const { journal, clock, log } = this.#options;
      const run = await journal.run(runId);
      if (run === undefined || hasEnded(run.status) || run.status === "paused") return false;
      const agent = this.#agents.get(run.agent);
      if (agent === undefined) {
        log.error(
          { run: runId, agent: run.agent },
          "a run waits: its agent is not in the agents' folder any more",
        );
        this.#scheduler.wakeAt({ at: clock.now() + agentRecheckMs, runId, agent: run.agent });
        return false;
      }
      return await this.#read(run, agent, begin).catch((error: unknown) => {
        if (!(error instanceof UnreadableRunError)) throw error;
        log.error(
          { err: error, run: runId, agent: run.agent },
          "a run waits: what is recorded of it cannot be read",
        );
        this.#scheduler.wakeAt({ at: clock.now() + agentRecheckMs, runId, agent: run.agent });
        return false;
      });
    });
  }

  async #read(run: RunRecord, agent: Agent, begin: (execution: Execution) => boolean): Promise<boolean> {
    const late: SignalRecord[] = [];
    this.#late.set(run.id, late);
    try {
      const history = await wholeHistory(this.#options.journal, run.id);
      const inbox = await this.#options.journal.inbox(run.id);
      if (history.length > 0) {
        const facts = { event: "run.resumed", run: run.id, agent: run.agent, replayed: history.length };
        this.#options.log.info(facts, "run resumed");
      }
      // No turn between these: what comes now is late, what comes next finds the run alive.
      const execution = this.#execution(run, agent, { history, inbox });
      const began = begin(execution);
      for (const signal of late) execution.signals.receive(signal);
      return began;
    } finally {
      this.#late.delete(run.id);
    }
  }

  #execution(
    run: RunRecord,
    agent: Agent,
    past: { readonly history: readonly HistoryEvent[]; readonly inbox: readonly SignalRecord[] },
  ): Execution {
    const { history, inbox } = past;
    const lastSeq = history.at(-1)?.seq ?? 0;
    const hasChildren = history.some(({ kind }) => kind === "child.started");
    const read: Past = { lastSeq, counting: whatCounts(history), hasChildren, inbox };
    return new Execution(run, agent, read, this.#ports);
  }

  #makePorts(): ExecutionPorts {
    const { journal, clock, log, tenantId, newId, random, guard = noGuard } = this.#options;
    return {
      journal,
      clock,
      log,
      tenantId,
      guard,
      newId,
      random,
      prepareRun: async (agentId, input, parent) => {
        const agent = this.#options.agents.get(agentId);
        if (agent === undefined) throw new UnknownAgentError(agentId);
        const checked = await checkValue(agent.input, input, `The input of agent "${agentId}"`);
        return { ...this.newRun(agent, checked, parent?.durability), parent: parent?.id ?? null };
      },
      adopt: (run) => this.adoptChild(run),
      childEnd: (runId, parent) => childEnd(runId, parent, this.endings),
      afterFailure: (run, error) => {
        const agent = this.#agents.get(failureAgentId(run.agent));
        if (agent === undefined) return [];
        const after = this.newRun(agent, failureInput(run, error), run.durability);
        return [{ kind: "create-run", run: after }];
      },
      onSettled: (execution, written) =>
        this.leave(execution.run, execution.status, execution.hasChildren, written),
      onRetraced: ({ run: { id, agent } }) => {
        this.#scheduler.forget(id);
        this.#scheduler.wake(id, agent);
      },
      onWaiting: (execution) => this.#scheduler.noteWaiting(execution.run.id),
    };
  }
}
