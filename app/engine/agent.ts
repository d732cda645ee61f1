import type { StandardSchemaV1 } from "@standard-schema/spec";
import { parseDuration, type Duration } from "./duration.ts";
import type { Durability } from "./journal.ts";
import type { SerializedError } from "./serialized-error.ts";
import { defaultRetry, retryPolicy, type RetryOptions, type RetryPolicy } from "./retry.ts";

/** Where the project says what `step.tx` gives its function: `declare module` it with a member `tx`. */
export interface Register {}

/** A transaction on the tenant's own database. */
export type Transaction = Register extends { readonly tx: infer Tx } ? Tx : unknown;

export interface AgentOptions<Schema extends StandardSchemaV1, Output> {
  /** What requests name; 1 to 64 of `A–Z a–z 0–9 . _ -`. */
  readonly id: string;
  /** Any Standard Schema. What it makes of the request's input is recorded as JSON and given to the agent. */
  readonly input: Schema;
  /** For the agent's steps; a step may say otherwise. */
  readonly retry?: RetryOptions;
  /** Any Standard Schema: an output that it refuses fails the run. */
  readonly output?: StandardSchemaV1<Output>;
  /** For the whole run, its waits included. */
  readonly timeout?: Duration;
  /** Can only raise what the host is set to. */
  readonly durability?: Durability;
  /** Runs, as a run of its own, when a run of this agent has failed. */
  readonly onFailure?: (context: FailureContext<StandardSchemaV1.InferOutput<Schema>>) => unknown;
}

export interface AttemptContext {
  /** Aborted when the attempt's time is up, the run ends, or this host lets the run go. */
  readonly signal: AbortSignal;
  /** 1 for the first. An attempt that the platform cut off does not count. */
  readonly attempt: number;
  /** The same for every attempt of this step, on any host: give it to the services that you call. */
  readonly idempotencyKey: string;
}

export type StepFunction<Result> = (context: AttemptContext) => Promise<Result> | Result;

export interface StepOptions {
  readonly retry?: RetryOptions;
  /** For one attempt. */
  readonly timeout?: Duration;
}

export interface SignalOptions<Schema extends StandardSchemaV1> {
  /** The signal's name, as in `POST /v1/runs/{id}/signals/{name}`. */
  readonly signal: string;
  readonly schema?: Schema;
  readonly timeout?: Duration;
}

export interface ReceivedSignal<Payload> {
  readonly payload: Payload;
  /** When it came in, ISO 8601. */
  readonly at: string;
}

export interface MapOptions {
  /** How many branches go on at the same time; 1,000 if not given. */
  readonly concurrency?: number;
}

export interface Branch {
  /** The branch's own durable calls: their names need be told apart within the branch only. */
  readonly step: Step;
  readonly index: number;
}

/**
 * The durable calls of a run. Each result is recorded once, under the call's name and its count, and replayed ever after.
 */
export interface Step {
  run<Result>(name: string, fn: StepFunction<Result>): Promise<Result>;
  run<Result>(name: string, options: StepOptions, fn: StepFunction<Result>): Promise<Result>;
  /** A transaction on the tenant's database: what `fn` writes commits together with the step's record, or not at all. */
  tx<Result>(name: string, fn: (tx: Transaction) => Promise<Result>): Promise<Result>;
  sleep(name: string, duration: Duration): Promise<void>;
  /** `time` is a Date, epoch milliseconds or an ISO 8601 string. */
  sleepUntil(name: string, time: Date | number | string): Promise<void>;
  /** The oldest signal of that name that no step has taken, also one that came early; `null` when the time is up. */
  waitForSignal<Schema extends StandardSchemaV1 = StandardSchemaV1>(
    name: string,
    options: SignalOptions<Schema>,
  ): Promise<ReceivedSignal<StandardSchemaV1.InferOutput<Schema>> | null>;
  /** Runs another agent and gives its output; it is cancelled with this run. Throws StepError if it fails. */
  invoke<Schema extends StandardSchemaV1, Output>(
    name: string,
    agent: Agent<Schema, Output>,
    input: StandardSchemaV1.InferInput<Schema>,
  ): Promise<Output>;
  /** Starts a run of another agent that lives on its own. */
  start<Schema extends StandardSchemaV1, Output>(
    name: string,
    agent: Agent<Schema, Output>,
    input: StandardSchemaV1.InferInput<Schema>,
  ): Promise<{ readonly runId: string }>;
  /** One branch an item, each with a `step` of its own; results in the order of the items. Fails with the first that fails. */
  map<Item, Result>(
    name: string,
    items: readonly Item[],
    fn: (item: Item, branch: Branch) => Promise<Result> | Result,
  ): Promise<Result[]>;
  map<Item, Result>(
    name: string,
    items: readonly Item[],
    options: MapOptions,
    fn: (item: Item, branch: Branch) => Promise<Result> | Result,
  ): Promise<Result[]>;
  /** The time of the first call, in a replay too. */
  now(): Promise<Date>;
  uuid(): Promise<string>;
  /** From 0 up to 1. */
  random(): Promise<number>;
}

/** Says nothing while a run is replayed. */
export interface RunLogger {
  info(message: string, facts?: Readonly<Record<string, unknown>>): void;
  warn(message: string, facts?: Readonly<Record<string, unknown>>): void;
  error(message: string, facts?: Readonly<Record<string, unknown>>): void;
}

export interface RunContext<Input> {
  readonly input: Input;
  readonly step: Step;
  readonly run: {
    readonly id: string;
    readonly agent: string;
    /** Says how far the run is; clients read it as `state`. A replay does not repeat it. */
    readonly setState: (value: unknown) => void;
  };
  readonly tenant: { readonly id: string };
  readonly log: RunLogger;
}

/** What an agent's `onFailure` gets: the run that failed, and a run of its own to do something about it. */
export interface FailureContext<Input> extends Omit<RunContext<Input>, "run"> {
  readonly error: SerializedError;
  /** The run that failed. */
  readonly run: { readonly id: string; readonly agent: string };
}

const brand = Symbol.for("holdfast.agent");

export interface Agent<Schema extends StandardSchemaV1 = StandardSchemaV1, Output = unknown> {
  readonly [brand]: true;
  readonly id: string;
  readonly input: Schema;
  readonly output: StandardSchemaV1<Output> | null;
  readonly retry: RetryPolicy;
  readonly timeoutMs: number | null;
  readonly durability: Durability | null;
  readonly handler: (context: RunContext<StandardSchemaV1.InferOutput<Schema>>) => Promise<Output> | Output;
  readonly onFailure: ((context: FailureContext<StandardSchemaV1.InferOutput<Schema>>) => unknown) | null;
}

/**
 * Defines a durable function. Export it from a module in the agents' folder and it is registered.
 * Between steps the code must be deterministic: what differs from call to call belongs into a step.
 */
export function defineAgent<Schema extends StandardSchemaV1, Output>(
  options: AgentOptions<Schema, Output>,
  handler: (context: RunContext<StandardSchemaV1.InferOutput<Schema>>) => Promise<Output> | Output,
): Agent<Schema, Output> {
  if (!/^[A-Za-z0-9._-]{1,64}$/.test(options.id))
    throw new RangeError(`The agent id ${JSON.stringify(options.id)} must be 1 to 64 of A-Z a-z 0-9 . _ -`);
  return {
    [brand]: true,
    id: options.id,
    input: options.input,
    output: options.output ?? null,
    retry: retryPolicy(options.retry, defaultRetry),
    timeoutMs: options.timeout === undefined ? null : parseDuration(options.timeout, "timeout"),
    durability: options.durability ?? null,
    handler,
    onFailure: options.onFailure ?? null,
  };
}

export function isAgent(value: unknown): value is Agent {
  return typeof value === "object" && value !== null && brand in value;
}
