/** What agents import as `holdfast`. */
import type { HoldfastTransaction } from "../db/connect.ts";

/** `step.tx` gives a Drizzle transaction on the tenant's own file. */
declare module "./engine/agent.ts" {
  interface Register {
    readonly tx: HoldfastTransaction;
  }
}

export { defineAgent } from "./engine/agent.ts";
export type {
  Agent,
  AgentOptions,
  AttemptContext,
  Branch,
  FailureContext,
  MapOptions,
  ReceivedSignal,
  RunContext,
  RunLogger,
  SignalOptions,
  Step,
  StepFunction,
  StepOptions,
  Transaction,
} from "./engine/agent.ts";
export type { Duration } from "./engine/duration.ts";
export { NonRetryableError, RetryAfterError, StepError } from "./engine/errors.ts";
export type { RetryOptions } from "./engine/retry.ts";
export type { AppEnv } from "./http/user-env.ts";
export { signToken } from "./http/token.ts";
