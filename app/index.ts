/** What agents import as `holdfast`. */
export { defineAgent } from "./engine/agent.ts";
export type {
  Agent,
  AgentOptions,
  AttemptContext,
  ReceivedSignal,
  RunContext,
  RunLogger,
  SignalOptions,
  Step,
  StepFunction,
  StepOptions,
} from "./engine/agent.ts";
export type { Duration } from "./engine/duration.ts";
export { NonRetryableError, RetryAfterError, StepError } from "./engine/errors.ts";
export type { RetryOptions } from "./engine/retry.ts";
export { signToken } from "./http/token.ts";
