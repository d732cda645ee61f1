import { connect, type HoldfastDb } from "../../db/connect.ts";
import {
  IdempotencyConflictError,
  InvalidInputError,
  RunNotFoundError,
  UnknownAgentError,
  WrongStatusError,
} from "../../app/engine/errors.ts";
import {
  hasEnded,
  type Durability,
  type HistoryEvent,
  type ListedRun,
  type RunFilter,
} from "../../app/engine/journal.ts";
import type { StepPlace } from "../../app/engine/retry-point.ts";
import type { Runs, SignalRequest, StartRequest } from "../../app/engine/runs.ts";
import type { Arrived, Host, Readiness, Tenant, TenantStatus, WakeCounts } from "../../app/host/host.ts";
import { ElsewhereError, TenantUnavailableError, type Holder } from "../../app/storage/errors.ts";

/** What each call of the fake does can be replaced, so that a test can make it fail, wait or be counted. */
export class FakeHost implements Host {
  readonly id: string;
  readonly tenants = new Map<string, FakeRuns>();
  /** The same for all tenants. Opened by its first use. */
  db: HoldfastDb = connect(":memory:").db;
  durability: Durability = "replicated";
  durable: (tenantId: string) => Promise<void> = async () => {};
  refusal: Error | undefined = undefined;
  /** Asked before `refusal`, with how the request arrived and the how-manieth question it is, from 1. */
  refuse: (arrived: Arrived, times: number) => Error | undefined = () => this.refusal;
  /** How the requests have arrived for which a tenant was asked. */
  readonly arrivals: Arrived[] = [];
  /** Whom `noteUnreachable` has named, and how. */
  readonly unreachable: [hostId: string, how: "refused" | "silent"][] = [];
  /** Ends with `signal` by default, as if every host lived. */
  lost: (hostId: string, signal: AbortSignal) => Promise<void> = (_hostId, signal) =>
    new Promise((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
  another: Holder | null = null;
  ready = true;
  /** How many `use` calls are under way. */
  inUse = 0;
  /** How many requests are being answered, here or elsewhere. */
  attended = 0;

  constructor(id = "host-1") {
    this.id = id;
  }

  attend(): () => void {
    this.attended += 1;
    return () => void (this.attended -= 1);
  }

  async use<T>(
    tenantId: string,
    work: (tenant: Tenant) => Promise<T>,
    arrived: Arrived = "first",
  ): Promise<T> {
    const refusal = this.#asked(arrived);
    if (refusal !== undefined) throw refusal;
    this.inUse += 1;
    try {
      return await work({
        id: tenantId,
        epoch: 1,
        db: this.db,
        runs: this.runs(tenantId),
        durability: this.durability,
        durable: () => this.durable(tenantId),
      });
    } finally {
      this.inUse -= 1;
    }
  }

  #asked(arrived: Arrived): Error | undefined {
    return this.refuse(arrived, this.arrivals.push(arrived));
  }

  runs(tenantId: string): FakeRuns {
    const runs = this.tenants.get(tenantId) ?? new FakeRuns();
    this.tenants.set(tenantId, runs);
    return runs;
  }

  async status(tenantId: string, arrived: Arrived = "first"): Promise<TenantStatus> {
    const refusal = this.#asked(arrived);
    if (refusal instanceof ElsewhereError) throw refusal;
    return {
      id: tenantId,
      state: refusal === undefined ? "open" : "unavailable",
      reason: refusal?.message ?? null,
      epoch: 3,
      host: this.id,
      region: "ams",
      sizeBytes: 4096,
      restorePoint: this.refusal instanceof TenantUnavailableError ? this.refusal.restorePoint : null,
      runs: { running: 1 },
      replication: {
        state: "failing",
        oldestUndurableAt: 0,
        lastDurableAt: null,
        error: "no route to the store",
      },
    };
  }

  noteUnreachable(hostId: string, how: "refused" | "silent"): void {
    this.unreachable.push([hostId, how]);
  }

  async anotherHost(): Promise<Holder | null> {
    return this.another;
  }

  wakeDue: () => Promise<WakeCounts> = async () => ({ due: 0, served: 0 });

  readiness(): Readiness {
    return { ready: this.ready, checks: [{ name: "litestream", ok: this.ready, detail: "" }] };
  }
}

/** Two agents: `echo` takes anything, `greet` takes `{name}`. Runs go on only when a test says so. */
export class FakeRuns implements Runs {
  readonly started: ListedRun[] = [];
  readonly events = new Map<string, HistoryEvent[]>();
  /** Waits of `ended` that are under way. */
  waiting = 0;
  readonly #signals = new Map<string, string>();
  readonly #ends = new EventTarget();

  async start(request: StartRequest): Promise<{ run: ListedRun; created: boolean }> {
    if (!["echo", "greet"].includes(request.agent)) throw new UnknownAgentError(request.agent);
    if (request.agent === "greet" && !hasName(request.input))
      throw new InvalidInputError("Input", [{ path: "name", message: "expected text" }]);
    const fingerprint = JSON.stringify(request.input) ?? "";
    const earlier = this.started.find(
      (run) => request.idempotencyKey !== undefined && run.idempotencyKey === request.idempotencyKey,
    );
    if (earlier !== undefined && earlier.fingerprint !== fingerprint)
      throw new IdempotencyConflictError(request.idempotencyKey ?? "");
    if (earlier !== undefined) return { run: earlier, created: false };
    const run: ListedRun = {
      id: `run-${String(this.started.length + 1).padStart(6, "0")}`,
      agent: request.agent,
      version: null,
      status: "queued",
      durability: request.durability ?? "local",
      input: request.input,
      output: undefined,
      error: null,
      state: undefined,
      parent: null,
      idempotencyKey: request.idempotencyKey ?? null,
      fingerprint,
      createdAt: 1_000,
      startedAt: null,
      endedAt: null,
      wakeAt: request.delayMs === undefined ? null : 1_000 + request.delayMs,
      updatedAt: 1_000,
    };
    this.started.push(run);
    return { run, created: true };
  }

  async get(runId: string): Promise<ListedRun> {
    const run = this.started.find((candidate) => candidate.id === runId);
    if (run === undefined) throw new RunNotFoundError(runId);
    return run;
  }

  cancel = (runId: string): Promise<ListedRun> => this.#become(runId, "cancelled");
  pause = (runId: string): Promise<ListedRun> => this.#become(runId, "paused");
  resume = (runId: string): Promise<ListedRun> => this.#become(runId, "running");
  /** Where the last retry or fork was to go on from. */
  lastPlace: StepPlace | undefined;

  async retry(runId: string, from?: StepPlace): Promise<ListedRun> {
    this.lastPlace = from;
    return await this.#become(runId, "running");
  }

  async fork(runId: string, from?: StepPlace): Promise<ListedRun> {
    this.lastPlace = from;
    const fork = { ...(await this.get(runId)), id: `${runId}-fork` };
    this.started.push(fork);
    return fork;
  }

  async remove(runId: string): Promise<void> {
    this.started.splice(this.started.indexOf(await this.get(runId)), 1);
  }

  async #become(runId: string, status: ListedRun["status"]): Promise<ListedRun> {
    const run = { ...(await this.get(runId)), status };
    this.started[this.started.findIndex(({ id }) => id === runId)] = run;
    return run;
  }

  async list({ agent, status, before, limit }: RunFilter): Promise<readonly ListedRun[]> {
    return this.started
      .filter((run) => agent === undefined || run.agent === agent)
      .filter((run) => status === undefined || run.status === status)
      .filter((run) => before === undefined || run.id < before)
      .toReversed()
      .slice(0, limit);
  }

  async history(
    runId: string,
    { after, limit }: { after: number; limit: number },
  ): Promise<readonly HistoryEvent[]> {
    await this.get(runId);
    return (this.events.get(runId) ?? []).filter((event) => event.seq > after).slice(0, limit);
  }

  async signal(runId: string, request: SignalRequest): Promise<{ id: string; created: boolean }> {
    const run = await this.get(runId);
    if (hasEnded(run.status)) throw new WrongStatusError(runId, run.status, "it takes no signals");
    const key = `${runId} ${request.idempotencyKey ?? Math.random()}`;
    const earlier = this.#signals.get(key);
    if (earlier !== undefined) return { id: earlier, created: false };
    const id = `signal-${this.#signals.size + 1}`;
    this.#signals.set(key, id);
    return { id, created: true };
  }

  async ended(runId: string, timeoutMs: number): Promise<ListedRun> {
    const run = await this.get(runId);
    if (hasEnded(run.status)) return run;
    this.waiting += 1;
    try {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, timeoutMs);
        this.#ends.addEventListener(runId, () => (clearTimeout(timer), resolve()), { once: true });
      });
    } finally {
      this.waiting -= 1;
    }
    return this.get(runId);
  }

  change(runId: string, patch: Partial<ListedRun>): void {
    const index = this.started.findIndex((run) => run.id === runId);
    const run = this.started[index];
    if (run === undefined) throw new RunNotFoundError(runId);
    this.started[index] = { ...run, ...patch };
    if (hasEnded(this.started[index].status)) this.#ends.dispatchEvent(new Event(runId));
  }
}

function hasName(input: unknown): boolean {
  return typeof input === "object" && input !== null && "name" in input && typeof input.name === "string";
}
