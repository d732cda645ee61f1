import ms, { type StringValue } from "ms";

/** Milliseconds, or text like `"15s"`, `"1h"`, `"3 days"`. */
export type Duration = number | string;

/** Ten years: longer waits are slips of the pen, and stay far from the end of JavaScript's dates. */
export const maxDurationMs = 10 * 365.25 * 24 * 60 * 60 * 1000;

/**
 * Whole milliseconds, rounded up so that a short wait is never none. `what` names the value in the error.
 * Throws RangeError on text that is no duration and on anything negative or beyond ten years.
 */
export function parseDuration(duration: Duration, what: string): number {
  const parsed = typeof duration === "string" ? parseText(duration) : duration;
  if (!Number.isFinite(parsed))
    throw new RangeError(
      `${what} must be a duration such as "15s", "1h" or "3 days", or milliseconds; it is ${quoted(duration)}`,
    );
  if (parsed < 0) throw new RangeError(`${what} must not be negative; it is ${quoted(duration)}`);
  if (parsed > maxDurationMs)
    throw new RangeError(`${what} must be 10 years at most; it is ${quoted(duration)}`);
  return Math.ceil(parsed);
}

/** `ms` answers `undefined` to a number with a unit that it does not know, although its type denies it. */
function parseText(text: string): number {
  const trimmed = text.trim();
  return isNumberWithUnit(trimmed) ? ms(trimmed) : Number.NaN;
}

function isNumberWithUnit(text: string): text is StringValue {
  return /^-?\d*\.?\d+ *[a-z]*$/i.test(text);
}

/** Bounded, since the text may come from a request. */
function quoted(duration: Duration): string {
  if (typeof duration === "number") return String(duration);
  return JSON.stringify(duration.length > 40 ? `${duration.slice(0, 40)}…` : duration);
}
