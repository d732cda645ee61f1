import { callAgent, type Ending } from "./agent-call.ts";
import type { Agent } from "./agent.ts";
import { Attempts } from "./attempts.ts";
import type { Clock } from "./clock.ts";
import { RunTimeoutError } from "./errors.ts";
import type { ExecutionPorts } from "./execution-ports.ts";
import type { HistoryEvent, HistoryKind, RunPatch, RunRecord, Write } from "./journal.ts";
import { asRecorded } from "./json.ts";
import { startedData, type Past, type Retraced } from "./past.ts";
import { isOutcome, RecordedSteps } from "./recorded-steps.ts";
import { type MismatchError, Replay } from "./replay.ts";
import { RunLog, type NewEvent } from "./run-log.ts";
import { RunState } from "./run-state.ts";
import { serializeError } from "./serialized-error.ts";
import { SignalExchange } from "./signal-exchange.ts";
import type { StepIdentity } from "./step-identity.ts";
import { turn } from "./turn.ts";
import type { Waits } from "./waits.ts";

/** Between attempts to pass the gate before a step's effects, while the store does not take what they rest on. */
const gateRetryMs = 250;

const noPlace: StepIdentity = { path: "", name: "", occurrence: 0 };

/** One run, alive in memory: its function, fed from history first and from the world after. */
export class Execution {
  readonly run: RunRecord;
  readonly agent: Agent;
  readonly ports: ExecutionPorts;
  readonly replay: Replay;
  readonly attempts = new Attempts();
  readonly signals: SignalExchange;
  /** Whether it may have waited for other runs: set by what is recorded, and by a call that waits for one. */
  hasChildren: boolean;
  readonly #runLog: RunLog;
  readonly #isNew: boolean;
  readonly #state: RunState;
  /** What was written of the run since it came to life, beside its status. */
  #written: Pick<RunRecord, "startedAt" | "state">;
  readonly #gone = Promise.withResolvers<void>();
  #hearing = 0;
  /** `stopping`: no attempt starts. `ending`: the run's last row is being written, none comes after it. */
  #phase: "live" | "stopping" | "ending" | "closed" = "live";

  constructor(run: RunRecord, agent: Agent, past: Past, ports: ExecutionPorts) {
    this.run = run;
    this.agent = agent;
    this.ports = ports;
    this.#written = { startedAt: run.startedAt, state: run.state };
    this.#state = new RunState(run);
    const { rows, retracing } = past.counting;
    this.hasChildren = past.hasChildren;
    this.#isNew = !rows.some(({ kind }) => kind === "run.started");
    this.signals = new SignalExchange(past.inbox, {
      record: (...facts) => this.record(...facts),
      idle: () => void this.#tellIfWaiting(),
    });
    this.replay = new Replay({ recorded: new RecordedSteps(rows), retracing }, ports.clock, {
      mismatch: (error) => void this.#quarantine("mismatch", error),
      retraced: (found) => void this.#replayBy(found),
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
    return this.#state.status;
  }

  get lastSeq(): number {
    return this.#runLog.lastSeq;
  }

  get wakeAt(): number | null {
    return this.#state.wakeAt;
  }

  get waits(): Waits {
    return this.#state.waits;
  }

  /** Whether all that the run does is wait: then it can be dropped from memory and replayed when its wait is over. */
  get onlyWaits(): boolean {
    if (this.#phase !== "live" || this.replay.replaying || this.replay.settling) return false;
    if (!this.#runLog.isIdle) return false;
    // Something came for it, and is being read.
    if (this.#hearing > 0 || this.signals.isMatching) return false;
    return this.#state.rests;
  }

  /** Whether the row is being written that is the run's last in this life; `gone` resolves when it is. */
  get isEnding(): boolean {
    return this.#phase === "ending";
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
      this.#written = { ...this.#written, startedAt };
      void this.#runLog.append(row("run.started", noPlace, { data }), this.#patching(patch));
    }
    const { timeoutMs } = this.agent;
    if (timeoutMs !== null) this.#endAt(startedAt + timeoutMs, timeoutMs);
    // The code's first calls may all be waits.
    void turn().then(() => this.#syncStatus());
    const ending = await callAgent(this);
    if (this.#isEnding || !this.replay.checkEnd(ending)) return;
    await this.#end(ending);
  }

  /** Records a row and with it, both or neither, that the run is at work, if that is new. */
  async record(
    kind: HistoryKind,
    identity: StepIdentity,
    facts: { readonly attempt?: number; readonly data?: unknown },
    also?: (event: HistoryEvent) => readonly Write[],
  ): Promise<HistoryEvent> {
    if (this.#isEnding) return await never();
    const patch = this.#state.atWork();
    const event = await this.#runLog.append(row(kind, identity, facts), this.#patching(patch, also));
    // An outcome is followed by a turn of the code, and that by this.
    if (!isOutcome(kind)) this.#syncStatus();
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
    if (this.replay.replaying || this.#isEnding) return;
    this.#written = { ...this.#written, state };
    this.#runLog.write([{ kind: "patch-run", runId: this.run.id, patch: { state } }]);
  }

  /** Resolves when what the run rests on is durable, so that effects may leave; never, once the run is let go. */
  async effectsAllowed(): Promise<void> {
    for (let told = false; ; told = true) {
      if (!this.attempts.mayBegin) return await never();
      if (this.run.durability === "local") return;
      try {
        await this.ports.journal.durable();
        if (this.attempts.mayBegin) return;
      } catch (error) {
        const facts = { err: error, run: this.run.id };
        if (!told) this.ports.log.warn(facts, "a step waits: what it rests on is not durable yet");
        await new Promise<void>((resolve) => this.clock.setTimer(this.clock.now() + gateRetryMs, resolve));
      }
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

  /** As `stop`, and the run stays paused until it is resumed. `gone` resolves when that is written. */
  async pause(graceMs: number): Promise<void> {
    await this.#endAttempts(graceMs);
    if (this.#isEnding) return;
    void this.#endWith("run.paused", { reason: "request" }, { status: "paused", wakeAt: null });
  }

  /** Ends the run as it stands; attempts under way are aborted. `gone` resolves when that is written. */
  cancel(): void {
    if (this.#isEnding) return;
    const endedAt = this.clock.now();
    void this.#endWith("run.cancelled", undefined, { status: "cancelled", endedAt, wakeAt: null });
  }

  /** Lets the run go: nothing is recorded or called from now on. What was cut off runs again where the run goes on. */
  close(): void {
    this.#phase = "closed";
    this.#runLog.close();
    this.replay.close();
    this.waits.close();
    this.attempts.letGo("This host lets the run go.");
  }

  get #isEnding(): boolean {
    return this.#phase === "ending" || this.#phase === "closed";
  }

  async #endAttempts(graceMs: number): Promise<void> {
    if (this.#phase === "live") this.#phase = "stopping";
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
    await this.attempts.ended();
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

  /** Records what a retry's replay has found, and has the run replayed by it. One that is being stopped finds it again. */
  async #replayBy(found: Retraced): Promise<void> {
    if (this.#phase !== "live") return;
    this.#phase = "ending";
    await this.#runLog.append(row("run.retraced", noPlace, { data: found }));
    this.close();
    this.ports.onRetraced(this);
    this.#gone.resolve();
  }

  async #endWith(
    kind: HistoryKind,
    data: unknown,
    patch: RunPatch,
    after: readonly Write[] = [],
  ): Promise<void> {
    this.#phase = "ending";
    this.attempts.letGo(`The run ends: ${kind}.`);
    const { at } = await this.#runLog.append(
      row(kind, noPlace, { data }),
      this.#patching(patch, () => after),
    );
    this.close();
    this.ports.onSettled(this, { ...this.run, ...this.#written, ...patch, updatedAt: at });
    this.#gone.resolve();
  }

  /** The code has had its turn: what does it wait for now? */
  #syncStatus(): void {
    if (this.#isEnding || this.replay.settling) return;
    const patch = this.#state.whenSettled();
    if (patch !== null) this.#runLog.write(this.#patching(patch)());
    if (this.status !== "running") void this.#tellIfWaiting();
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
    if (patch !== null) this.#state.note(patch);
    const own: readonly Write[] = patch === null ? [] : [{ kind: "patch-run", runId: this.run.id, patch }];
    return (event) => (event === undefined || also === undefined ? own : [...own, ...also(event)]);
  }
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
