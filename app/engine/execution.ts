import type { Agent, RunContext, RunLogger } from "./agent.ts";
import type { Clock } from "./clock.ts";
import { hasEnded, type HistoryEvent, type HistoryKind, type Journal, type RunPatch } from "./journal.ts";
import type { RunRecord, SignalRecord, Write } from "./journal.ts";
import { asRecorded } from "./json.ts";
import type { EngineLog } from "./log.ts";
import { isOutcome, RecordedSteps } from "./recorded-steps.ts";
import { type MismatchError, Replay } from "./replay.ts";
import { RunLog } from "./run-log.ts";
import { serializeError } from "./serialized-error.ts";
import { SignalExchange } from "./signal-exchange.ts";
import type { StepIdentity } from "./step-identity.ts";
import { createStep } from "./step.ts";
import { Waits } from "./waits.ts";

export interface ExecutionPorts {
  readonly journal: Journal;
  readonly clock: Clock;
  readonly log: EngineLog;
  readonly tenantId: string;
  /** Told once, when the run has ended or was paused: it needs no memory any more. */
  readonly onSettled: (runId: string) => void;
}

/** Between attempts to pass the gate before a step's effects, while the store does not take what they rest on. */
const gateRetryMs = 250;

const noPlace: StepIdentity = { path: "", name: "", occurrence: 0 };

/** One run, alive in memory: its function, fed from history first and from the world after. */
export class Execution {
  readonly run: RunRecord;
  readonly agent: Agent;
  readonly clock: Clock;
  readonly replay: Replay;
  readonly waits = new Waits();
  readonly signals: SignalExchange;
  /** Fires when the run ends or is let go; step attempts listen to it. */
  readonly abort = new AbortController();
  readonly #ports: ExecutionPorts;
  readonly #runLog: RunLog;
  readonly #recorded: RecordedSteps;
  #status: RunRecord["status"];
  #wakeAt: number | null;
  #seq: number;
  #attemptsInFlight = 0;
  #noAttemptInFlight: (() => void) | null = null;
  /** `stopping`: no attempt starts. `ending`: the run's last row is being written, none comes after it. */
  #state: "running" | "stopping" | "ending" | "closed" = "running";

  constructor(
    run: RunRecord,
    agent: Agent,
    past: { readonly history: readonly HistoryEvent[]; readonly inbox: readonly SignalRecord[] },
    ports: ExecutionPorts,
  ) {
    this.run = run;
    this.agent = agent;
    this.clock = ports.clock;
    this.#ports = ports;
    this.#status = run.status;
    this.#wakeAt = run.wakeAt;
    this.#seq = past.history.at(-1)?.seq ?? 0;
    this.signals = new SignalExchange(past.inbox, (...row) => this.record(...row));
    this.#recorded = new RecordedSteps(past.history);
    this.replay = new Replay(this.#recorded, ports.clock, {
      mismatch: (error) => void this.#pause(error),
      idle: () => this.#syncStatus(),
    });
    this.#runLog = new RunLog(ports.journal, ports.clock, (error) =>
      ports.log.error({ err: error, run: run.id }, "a run's history could not be written; trying again"),
    );
  }

  get status(): RunRecord["status"] {
    return this.#status;
  }

  get wakeAt(): number | null {
    return this.#wakeAt;
  }

  get closed(): boolean {
    return this.#state === "closed";
  }

  /** Calls the agent's function and sees it through to the run's end. */
  async start(): Promise<void> {
    if (this.#seq === 0) {
      const started = this.#event("run.started", noPlace, 0, {
        agent: this.run.agent,
        input: this.run.input,
      });
      void this.#append([started], { status: "running", startedAt: started.event.at, wakeAt: null });
    }
    const ending = await this.#callAgent();
    if (this.#state === "closed" || this.#state === "ending" || !this.replay.checkEnd()) return;
    await this.#end(ending);
  }

  /** Records a row and, where the run's status changes by it, the status: both or neither. */
  async record(
    kind: HistoryKind,
    identity: StepIdentity,
    row: { readonly attempt?: number; readonly data?: unknown },
    also?: (event: HistoryEvent) => readonly Write[],
  ): Promise<HistoryEvent> {
    if (this.#state === "ending" || this.#state === "closed") return await never();
    const write = this.#event(kind, identity, row.attempt ?? 0, row.data);
    if (isOutcome(kind)) this.replay.expect(write.event.seq);
    await this.#append([write, ...(also?.(write.event) ?? [])], this.#statusPatch());
    return write.event;
  }

  /** Resolves when what the run rests on is durable, so that effects may leave; never, once the run is let go. */
  async effectsAllowed(): Promise<void> {
    for (;;) {
      if (this.#state !== "running") return await never();
      if (this.run.durability === "local") return;
      try {
        await this.#ports.journal.durable();
        if (this.#state === "running") return;
      } catch (error) {
        this.#ports.log.warn(
          { err: error, run: this.run.id },
          "a step waits: what it rests on is not durable yet",
        );
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
    if (this.#state === "running") this.#state = "stopping";
    await new Promise<void>((resolve) => {
      const cancel = this.clock.setTimer(this.clock.now() + graceMs, resolve);
      void this.#quiet().then(() => {
        cancel();
        resolve();
      });
    });
    this.close();
  }

  /** Resolves when no attempt is under way and all is recorded. */
  async #quiet(): Promise<void> {
    if (this.#attemptsInFlight > 0 && this.#state === "stopping")
      await new Promise<void>((resolve) => (this.#noAttemptInFlight = resolve));
    await this.#runLog.written();
  }

  /** Lets the run go: nothing is recorded or called from now on. What was cut off runs again where the run goes on. */
  close(): void {
    this.#state = "closed";
    this.#runLog.close();
    this.replay.close();
    this.waits.close();
    this.abort.abort(new Error("This host lets the run go."));
  }

  async #callAgent(): Promise<{ readonly output: unknown } | { readonly thrown: unknown }> {
    const context: RunContext<unknown> = {
      // A copy, since the agent may change it while the run's first row waits to be written.
      input: structuredClone(this.run.input),
      step: createStep(this),
      run: { id: this.run.id, agent: this.run.agent },
      tenant: { id: this.#ports.tenantId },
      log: this.#agentLog(),
    };
    try {
      return {
        output: asRecorded(await this.agent.handler(context), `The output of agent "${this.agent.id}"`),
      };
    } catch (thrown) {
      return { thrown };
    }
  }

  async #end(ending: { readonly output: unknown } | { readonly thrown: unknown }): Promise<void> {
    const completed = "output" in ending;
    this.#state = "ending";
    const data = completed ? ending.output : serializeError(ending.thrown);
    const write = this.#event(completed ? "run.completed" : "run.failed", noPlace, 0, data);
    const result: RunPatch = completed ? { output: ending.output } : { error: serializeError(ending.thrown) };
    await this.#append([write], {
      ...result,
      status: completed ? "completed" : "failed",
      endedAt: write.event.at,
      wakeAt: null,
    });
    this.#settle();
  }

  async #pause(error: MismatchError): Promise<void> {
    this.#ports.log.warn({ run: this.run.id, agent: this.run.agent }, error.message);
    this.#state = "ending";
    this.abort.abort(error);
    const serialized = serializeError(error);
    const write = this.#event("run.paused", noPlace, 0, { reason: "mismatch", error: serialized });
    await this.#append([write], { status: "paused", error: serialized, wakeAt: null });
    this.#settle();
  }

  #settle(): void {
    this.close();
    this.#ports.onSettled(this.run.id);
  }

  #event(
    kind: HistoryKind,
    { path, name, occurrence }: StepIdentity,
    attempt: number,
    data: unknown,
  ): Extract<Write, { kind: "event" }> {
    this.#seq += 1;
    const at = this.clock.now();
    return {
      kind: "event",
      event: { runId: this.run.id, seq: this.#seq, at, kind, path, name, occurrence, attempt, data },
    };
  }

  #append(writes: readonly Write[], patch: RunPatch | null): Promise<void> {
    if (patch?.status !== undefined) this.#status = patch.status;
    if (patch?.wakeAt !== undefined) this.#wakeAt = patch.wakeAt;
    const patchWrite: readonly Write[] =
      patch === null ? [] : [{ kind: "patch-run", runId: this.run.id, patch }];
    return this.#runLog.append([...writes, ...patchWrite]);
  }

  /** The code has had its turn: what does it wait for now? */
  #syncStatus(): void {
    if (this.#state !== "running") return;
    const patch = this.#statusPatch();
    if (patch !== null) void this.#append([], patch);
  }

  #statusPatch(): RunPatch | null {
    if (hasEnded(this.#status) || this.#status === "paused") return null;
    const { status, wakeAt } = this.waits.summary();
    return status === this.#status && wakeAt === this.#wakeAt ? null : { status, wakeAt };
  }

  #agentLog(): RunLogger {
    const bound = { tenant: this.#ports.tenantId, run: this.run.id, agent: this.run.agent };
    const say =
      (level: "info" | "warn" | "error") =>
      (message: string, facts?: Readonly<Record<string, unknown>>): void => {
        if (!this.replay.replaying) this.#ports.log[level]({ ...facts, ...bound }, message);
      };
    return { info: say("info"), warn: say("warn"), error: say("error") };
  }
}

function never(): Promise<never> {
  return new Promise(() => {});
}
