import type { Agent, RunContext, RunLogger } from "./agent.ts";
import type { Clock } from "./clock.ts";
import { RunTimeoutError } from "./errors.ts";
import type { Guard } from "./guard.ts";
import { hasEnded, type HistoryEvent, type HistoryKind, type Journal, type RunPatch } from "./journal.ts";
import type { RunRecord, SignalRecord, Write } from "./journal.ts";
import { asRecorded } from "./json.ts";
import type { EngineLog } from "./log.ts";
import { isOutcome, RecordedSteps } from "./recorded-steps.ts";
import { type MismatchError, Replay } from "./replay.ts";
import { RunLog, type NewEvent } from "./run-log.ts";
import { checkValue } from "./schema.ts";
import { serializeError } from "./serialized-error.ts";
import { SignalExchange } from "./signal-exchange.ts";
import type { StepIdentity } from "./step-identity.ts";
import { createStep } from "./step.ts";
import { turn } from "./turn.ts";
import { Waits } from "./waits.ts";

/** What a run asks of the engine that it lives in. */
export interface ExecutionPorts {
  readonly journal: Journal;
  readonly clock: Clock;
  readonly log: EngineLog;
  readonly tenantId: string;
  readonly guard: Guard;
  readonly newId: () => string;
  readonly random: () => number;
  /** A run of another agent, ready to be committed with the row that tells of it. Throws UnknownAgentError, InvalidInputError. */
  readonly prepareRun: (agentId: string, input: unknown, parent: RunRecord | null) => Promise<RunRecord>;
  /** The run was committed: it may begin. */
  readonly adopt: (run: RunRecord) => void;
  /** Resolves when the run has ended, unless that is forgotten before. `parent` hears of it. */
  readonly childEnd: (
    runId: string,
    parent: Execution,
  ) => { readonly promise: Promise<RunRecord | undefined>; readonly forget: () => void };
  /** What else is committed when the run has failed. */
  readonly afterFailure: (run: RunRecord, thrown: unknown) => readonly Write[];
  /** Told once, when the run has ended or was paused: it needs no memory any more. */
  readonly onSettled: (execution: Execution) => void;
  /** The run does nothing but wait now. */
  readonly onWaiting: (execution: Execution) => void;
}

/** What is recorded of a run when it comes to life. */
export interface Past {
  readonly lastSeq: number;
  /** The rows that a replay goes by. */
  readonly rows: readonly HistoryEvent[];
  /** Signals that nobody has taken. */
  readonly inbox: readonly SignalRecord[];
}

type Ending = { readonly output: unknown } | { readonly thrown: unknown };

/** Between attempts to pass the gate before a step's effects, while the store does not take what they rest on. */
const gateRetryMs = 250;

const noPlace: StepIdentity = { path: "", name: "", occurrence: 0 };

/** One run, alive in memory: its function, fed from history first and from the world after. */
export class Execution {
  readonly run: RunRecord;
  readonly agent: Agent;
  readonly ports: ExecutionPorts;
  readonly replay: Replay;
  readonly waits = new Waits();
  readonly signals: SignalExchange;
  /** Called when the run ends or is let go: attempts whose signal was asked for abort it. */
  readonly onLetGo = new Set<() => void>();
  #letGoReason: string | null = null;
  /** Whether it may have waited for other runs: set by what is recorded, and by a call that waits for one. */
  hasChildren: boolean;
  readonly #runLog: RunLog;
  readonly #isNew: boolean;
  #status: RunRecord["status"];
  #wakeAt: number | null;
  readonly #gone = Promise.withResolvers<void>();
  #hearing = 0;
  #attemptsInFlight = 0;
  #noAttemptInFlight: (() => void) | null = null;
  /** `stopping`: no attempt starts. `ending`: the run's last row is being written, none comes after it. */
  #state: "running" | "stopping" | "ending" | "closed" = "running";

  constructor(run: RunRecord, agent: Agent, past: Past, ports: ExecutionPorts) {
    this.run = run;
    this.agent = agent;
    this.ports = ports;
    this.#status = run.status;
    this.#wakeAt = run.wakeAt;
    this.hasChildren = past.rows.some(({ kind }) => kind === "child.started");
    this.#isNew = !past.rows.some(({ kind }) => kind === "run.started");
    this.signals = new SignalExchange(past.inbox, {
      record: (...facts) => this.record(...facts),
      idle: () => void this.#tellIfWaiting(),
    });
    this.replay = new Replay(new RecordedSteps(past.rows), ports.clock, {
      mismatch: (error) => void this.#quarantine("mismatch", error),
      idle: () => this.#syncStatus(),
    });
    this.#runLog = new RunLog({
      runId: run.id,
      journal: ports.journal,
      clock: ports.clock,
      lastSeq: past.lastSeq,
      onRow: ({ kind, seq }) => {
        if (isOutcome(kind)) this.replay.expect(seq);
      },
      onTrouble: (error) =>
        ports.log.error({ err: error, run: run.id }, "a run's history could not be written; trying again"),
    });
  }

  get clock(): Clock {
    return this.ports.clock;
  }

  get status(): RunRecord["status"] {
    return this.#status;
  }

  get lastSeq(): number {
    return this.#runLog.lastSeq;
  }

  get wakeAt(): number | null {
    return this.#wakeAt;
  }

  /** Whether all that the run does is wait: then it can be dropped from memory and replayed when its wait is over. */
  get onlyWaits(): boolean {
    if (this.#state !== "running" || this.replay.replaying || this.replay.settling) return false;
    if (!this.#runLog.isIdle) return false;
    // Something came for it, and is being read.
    if (this.#hearing > 0 || this.signals.isMatching) return false;
    const { status } = this.waits.summary();
    return status !== "running" && status === this.#status;
  }

  /** Whether the row that ends or pauses the run is being written; `gone` resolves when it is. */
  get isEnding(): boolean {
    return this.#state === "ending";
  }

  get gone(): Promise<void> {
    return this.#gone.promise;
  }

  /** Marks that something came for the run and is being read; the returned function ends that. */
  hear(): () => void {
    this.#hearing += 1;
    return () => {
      this.#hearing -= 1;
      void this.#tellIfWaiting();
    };
  }

  /** Calls the agent's function and sees it through to the run's end. */
  async start(): Promise<void> {
    const startedAt = this.run.startedAt ?? this.clock.now();
    if (this.#isNew) {
      const data = startedData(this.run);
      const patch = { status: "running", startedAt, wakeAt: null } as const;
      void this.#runLog.append(row("run.started", noPlace, { data }), this.#patching(patch));
    }
    const { timeoutMs } = this.agent;
    if (timeoutMs !== null) this.#endAt(startedAt + timeoutMs, timeoutMs);
    // The code's first calls may all be waits.
    void turn().then(() => this.#syncStatus());
    const ending = await this.#callAgent();
    if (this.#isEnding || !this.replay.checkEnd()) return;
    await this.#end(ending);
  }

  /** Records a row and, where the run's status changes by it, the status: both or neither. */
  async record(
    kind: HistoryKind,
    identity: StepIdentity,
    facts: { readonly attempt?: number; readonly data?: unknown },
    also?: (event: HistoryEvent) => readonly Write[],
  ): Promise<HistoryEvent> {
    if (this.#isEnding) return await never();
    const patch = this.#statusPatch();
    const event = await this.#runLog.append(row(kind, identity, facts), this.#patching(patch, also));
    if (this.#status !== "running") void this.#tellIfWaiting();
    return event;
  }

  /** As `record`, committed with what `work` does in a transaction of the tenant's database, and made of its result. */
  async recordTransaction(
    identity: StepIdentity,
    attempt: number,
    work: (tx: unknown) => Promise<unknown>,
  ): Promise<HistoryEvent> {
    if (this.#isEnding) return await never();
    return await this.#runLog.transact(async (tx) => {
      const result = asRecorded(await work(tx), `The result of step "${identity.name}"`);
      return row("step.completed", identity, { attempt, data: result });
    });
  }

  /** Live state that clients can read; a replay does not repeat it. */
  setState(value: unknown): void {
    const state = asRecorded(value, "The state of a run");
    if (!this.replay.replaying && !this.#isEnding)
      this.#runLog.write([{ kind: "patch-run", runId: this.run.id, patch: { state } }]);
  }

  /** Resolves when what the run rests on is durable, so that effects may leave; never, once the run is let go. */
  async effectsAllowed(): Promise<void> {
    for (let told = false; ; told = true) {
      if (this.#state !== "running") return await never();
      if (this.run.durability === "local") return;
      try {
        await this.ports.journal.durable();
        if (this.#state === "running") return;
      } catch (error) {
        const facts = { err: error, run: this.run.id };
        if (!told) this.ports.log.warn(facts, "a step waits: what it rests on is not durable yet");
        await new Promise<void>((resolve) => this.clock.setTimer(this.clock.now() + gateRetryMs, resolve));
      }
    }
  }

  /** Runs a step's attempt, which `stop` waits for; never, once it has been called. */
  async attempt<Result>(work: () => Promise<Result>): Promise<Result> {
    if (this.#state !== "running") return await never();
    this.#attemptsInFlight += 1;
    try {
      return await work();
    } finally {
      this.#attemptsInFlight -= 1;
      if (this.#attemptsInFlight === 0) this.#noAttemptInFlight?.();
    }
  }

  /**
   * Starts no further attempt; those under way reach their end, and what happened is recorded, if that takes no longer
   * than `graceMs`.
   */
  async stop(graceMs: number): Promise<void> {
    await this.#endAttempts(graceMs);
    this.close();
  }

  /** As `stop`, and the run stays paused until it is resumed. False: it had ended meanwhile. */
  async pause(graceMs: number): Promise<boolean> {
    await this.#endAttempts(graceMs);
    if (this.#isEnding) return false;
    await this.#endWith("run.paused", { reason: "request" }, { status: "paused", wakeAt: null });
    return true;
  }

  /** Ends the run as it stands; attempts under way are aborted. False: it had ended meanwhile. */
  async cancel(): Promise<boolean> {
    if (this.#isEnding) return false;
    const endedAt = this.clock.now();
    await this.#endWith("run.cancelled", undefined, { status: "cancelled", endedAt, wakeAt: null });
    return true;
  }

  /** Lets the run go: nothing is recorded or called from now on. What was cut off runs again where the run goes on. */
  close(): void {
    this.#state = "closed";
    this.#runLog.close();
    this.replay.close();
    this.waits.close();
    this.#letGo("This host lets the run go.");
  }

  /** Why attempts under way should end; null while they need not. */
  get letGoReason(): Error | null {
    return this.#letGoReason === null ? null : new Error(this.#letGoReason);
  }

  #letGo(reason: string): void {
    if (this.#letGoReason !== null) return;
    this.#letGoReason = reason;
    for (const listener of this.onLetGo) listener();
    this.onLetGo.clear();
    // Who waits for attempts to end need not wait any more.
    this.#noAttemptInFlight?.();
  }

  get #isEnding(): boolean {
    return this.#state === "ending" || this.#state === "closed";
  }

  async #endAttempts(graceMs: number): Promise<void> {
    if (this.#state === "running") this.#state = "stopping";
    await new Promise<void>((resolve) => {
      const cancel = this.clock.setTimer(this.clock.now() + graceMs, resolve);
      void this.#quiet().then(() => {
        cancel();
        resolve();
      });
    });
  }

  /** Resolves when no attempt is under way and all is recorded. */
  async #quiet(): Promise<void> {
    if (this.#attemptsInFlight > 0 && this.#state === "stopping")
      await new Promise<void>((resolve) => (this.#noAttemptInFlight = resolve));
    await this.#runLog.written();
  }

  /** The whole run has until `deadline`, sleeps and waits included. */
  #endAt(deadline: number, timeoutMs: number): void {
    this.waits.begin({ kind: "deadline", until: deadline });
    const thrown = new RunTimeoutError(timeoutMs);
    this.waits.keep(
      this.clock.setTimer(deadline, () => {
        if (!this.#isEnding) void this.#end({ thrown });
      }),
    );
  }

  async #callAgent(): Promise<Ending> {
    const context: RunContext<unknown> = {
      // A copy, since the agent may change it while the run's first row waits to be written.
      input: asRecorded(this.run.input, "The input"),
      step: createStep(this),
      run: { id: this.run.id, agent: this.run.agent, setState: (value) => this.setState(value) },
      tenant: { id: this.ports.tenantId },
      log: this.#agentLog(),
    };
    const what = `The output of agent "${this.agent.id}"`;
    try {
      const output = await this.ports.guard.begin(this, () => this.agent.handler(context));
      const { output: schema } = this.agent;
      return { output: asRecorded(schema === null ? output : await checkValue(schema, output, what), what) };
    } catch (thrown) {
      return { thrown };
    }
  }

  async #end(ending: Ending): Promise<void> {
    const endedAt = this.clock.now();
    if ("output" in ending) {
      const { output } = ending;
      await this.#endWith("run.completed", output, { output, status: "completed", endedAt, wakeAt: null });
      return;
    }
    const error = serializeError(ending.thrown);
    const after = this.ports.afterFailure(this.run, ending.thrown);
    await this.#endWith("run.failed", error, { error, status: "failed", endedAt, wakeAt: null }, after);
    for (const write of after) if (write.kind === "create-run") this.ports.adopt(write.run);
  }

  async #quarantine(reason: "mismatch", error: MismatchError): Promise<void> {
    if (this.#isEnding) return;
    this.ports.log.warn({ run: this.run.id, agent: this.run.agent }, error.message);
    const serialized = serializeError(error);
    const patch = { status: "paused", error: serialized, wakeAt: null } as const;
    await this.#endWith("run.paused", { reason, error: serialized }, patch);
  }

  async #endWith(
    kind: HistoryKind,
    data: unknown,
    patch: RunPatch,
    after: readonly Write[] = [],
  ): Promise<void> {
    this.#state = "ending";
    this.#letGo(`The run ends: ${kind}.`);
    await this.#runLog.append(
      row(kind, noPlace, { data }),
      this.#patching(patch, () => after),
    );
    this.close();
    this.ports.onSettled(this);
    this.#gone.resolve();
  }

  /** The code has had its turn: what does it wait for now? */
  #syncStatus(): void {
    if (this.#state !== "running" || this.replay.settling) return;
    const patch = this.#statusPatch();
    if (patch !== null) this.#runLog.write(this.#patching(patch)());
    if (this.#status !== "running") void this.#tellIfWaiting();
  }

  async #tellIfWaiting(): Promise<void> {
    await this.#runLog.written();
    if (this.onlyWaits) this.ports.onWaiting(this);
  }

  /** What is written with a row, the run's own change first. The status counts as changed from now on. */
  #patching(
    patch: RunPatch | null,
    also?: (event: HistoryEvent) => readonly Write[],
  ): (event?: HistoryEvent) => readonly Write[] {
    if (patch?.status !== undefined) this.#status = patch.status;
    if (patch?.wakeAt !== undefined) this.#wakeAt = patch.wakeAt;
    const own: readonly Write[] = patch === null ? [] : [{ kind: "patch-run", runId: this.run.id, patch }];
    return (event) => (event === undefined || also === undefined ? own : [...own, ...also(event)]);
  }

  #statusPatch(): RunPatch | null {
    if (hasEnded(this.#status) || this.#status === "paused") return null;
    const { status, wakeAt } = this.waits.summary();
    return status === this.#status && wakeAt === this.#wakeAt ? null : { status, wakeAt };
  }

  #agentLog(): RunLogger {
    const bound = { tenant: this.ports.tenantId, run: this.run.id, agent: this.run.agent };
    const say =
      (level: "info" | "warn" | "error") =>
      (message: string, facts?: Readonly<Record<string, unknown>>): void => {
        if (!this.replay.replaying) this.ports.log[level]({ ...facts, ...bound }, message);
      };
    return { info: say("info"), warn: say("warn"), error: say("error") };
  }
}

/** What a run's first row says. */
export function startedData({ agent, input }: RunRecord): unknown {
  return { agent, input };
}

function row(
  kind: HistoryKind,
  { path, name, occurrence }: StepIdentity,
  { attempt = 0, data }: { readonly attempt?: number; readonly data?: unknown },
): NewEvent {
  return { kind, path, name, occurrence, attempt, data };
}

function never(): Promise<never> {
  return new Promise(() => {});
}
