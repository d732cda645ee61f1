import { maxDurationMs, parseDuration, type Duration } from "./duration.ts";
import { NonRetryableError, RetryAfterError } from "./errors.ts";
import { NotJsonError } from "./json.ts";

export interface RetryOptions {
  /** How many attempts there are in all; 1 means no retry. */
  readonly maxAttempts?: number;
  /** Before the second attempt. */
  readonly delay?: Duration;
  readonly maxDelay?: Duration;
  readonly backoff?: "exponential" | "fixed";
}

export interface RetryPolicy {
  readonly maxAttempts: number;
  readonly delayMs: number;
  readonly maxDelayMs: number;
  readonly backoff: "exponential" | "fixed";
}

export const defaultRetry: RetryPolicy = {
  maxAttempts: 5,
  delayMs: 1_000,
  maxDelayMs: 5 * 60_000,
  backoff: "exponential",
};

/** Throws RangeError on a policy that makes no sense. */
export function retryPolicy(options: RetryOptions | undefined, base: RetryPolicy): RetryPolicy {
  if (options === undefined) return base;
  const maxAttempts = options.maxAttempts ?? base.maxAttempts;
  if (!Number.isInteger(maxAttempts) || maxAttempts < 1)
    throw new RangeError(`retry.maxAttempts must be a whole number from 1 on, not ${maxAttempts}`);
  return {
    maxAttempts,
    delayMs: options.delay === undefined ? base.delayMs : parseDuration(options.delay, "retry.delay"),
    maxDelayMs:
      options.maxDelay === undefined ? base.maxDelayMs : parseDuration(options.maxDelay, "retry.maxDelay"),
    backoff: options.backoff ?? base.backoff,
  };
}

export type RetryDecision = { readonly kind: "again"; readonly at: number } | { readonly kind: "exhausted" };

/** What follows a failed attempt (the first is 1); `now` and the answer's `at` are epoch milliseconds. */
export function decideRetry(
  policy: RetryPolicy,
  attempt: number,
  thrown: unknown,
  now: number,
): RetryDecision {
  if (thrown instanceof NonRetryableError || thrown instanceof NotJsonError) return { kind: "exhausted" };
  if (attempt >= policy.maxAttempts) return { kind: "exhausted" };
  return { kind: "again", at: now + (askedDelayMs(thrown) ?? policyDelayMs(policy, attempt)) };
}

/** Null if nobody asked, or if what was made of a service's header is no number. */
function askedDelayMs(thrown: unknown): number | null {
  if (!(thrown instanceof RetryAfterError) || Number.isNaN(thrown.retryAfterMs)) return null;
  return Math.min(Math.max(0, Math.ceil(thrown.retryAfterMs)), maxDurationMs);
}

function policyDelayMs({ backoff, delayMs, maxDelayMs }: RetryPolicy, attempt: number): number {
  // Doubled so often, any delay is beyond the longest; 2 to a power without bound would make NaN of a delay of 0.
  const growth = backoff === "exponential" ? 2 ** Math.min(attempt - 1, 64) : 1;
  return Math.min(delayMs * growth, maxDelayMs);
}
