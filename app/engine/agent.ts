import type { StandardSchemaV1 } from "@standard-schema/spec";
import type { Duration } from "./duration.ts";
import type { Durability } from "./journal.ts";
import { defaultRetry, retryPolicy, type RetryOptions, type RetryPolicy } from "./retry.ts";

export interface AgentOptions<Schema extends StandardSchemaV1> {
  /** What requests name; 1 to 64 of `A–Z a–z 0–9 . _ -`. */
  readonly id: string;
  /** Any Standard Schema. What it makes of the request's input is recorded as JSON and given to the agent. */
  readonly input: Schema;
  /** For the agent's steps; a step may say otherwise. */
  readonly retry?: RetryOptions;
  /** Can only raise what the host is set to. */
  readonly durability?: Durability;
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

/**
 * The durable calls of a run. Each result is recorded once, under the call's name and its count, and replayed ever after.
 */
export interface Step {
  run<Result>(name: string, fn: StepFunction<Result>): Promise<Result>;
  run<Result>(name: string, options: StepOptions, fn: StepFunction<Result>): Promise<Result>;
  sleep(name: string, duration: Duration): Promise<void>;
  /** `time` is a Date, epoch milliseconds or an ISO 8601 string. */
  sleepUntil(name: string, time: Date | number | string): Promise<void>;
  /** The oldest signal of that name that no step has taken, also one that came early; `null` when the time is up. */
  waitForSignal<Schema extends StandardSchemaV1 = StandardSchemaV1>(
    name: string,
    options: SignalOptions<Schema>,
  ): Promise<ReceivedSignal<StandardSchemaV1.InferOutput<Schema>> | null>;
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
  readonly run: { readonly id: string; readonly agent: string };
  readonly tenant: { readonly id: string };
  readonly log: RunLogger;
}

const brand = Symbol.for("holdfast.agent");

export interface Agent<Schema extends StandardSchemaV1 = StandardSchemaV1> {
  readonly [brand]: true;
  readonly id: string;
  readonly input: Schema;
  readonly retry: RetryPolicy;
  readonly durability: Durability | null;
  readonly handler: (context: RunContext<StandardSchemaV1.InferOutput<Schema>>) => unknown;
}

/**
 * Defines a durable function. Export it from a module in the agents' folder and it is registered.
 * Between steps the code must be deterministic: what differs from call to call belongs into a step.
 */
export function defineAgent<Schema extends StandardSchemaV1>(
  options: AgentOptions<Schema>,
  handler: (context: RunContext<StandardSchemaV1.InferOutput<Schema>>) => unknown,
): Agent<Schema> {
  if (!/^[A-Za-z0-9._-]{1,64}$/.test(options.id))
    throw new RangeError(`The agent id ${JSON.stringify(options.id)} must be 1 to 64 of A-Z a-z 0-9 . _ -`);
  return {
    [brand]: true,
    id: options.id,
    input: options.input,
    retry: retryPolicy(options.retry, defaultRetry),
    durability: options.durability ?? null,
    handler,
  };
}

export function isAgent(value: unknown): value is Agent {
  return typeof value === "object" && value !== null && brand in value;
}
