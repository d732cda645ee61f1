import { createHash } from "node:crypto";

/** A longer value makes every replay of its run slow, and belongs into a file or table of its own. */
const maxRecordedLength = 16 * 1024 * 1024;

/** Thrown when a value that must be recorded has no JSON form; `what` names the value. */
export class NotJsonError extends Error {
  override readonly name = "NotJsonError";
}

/**
 * The value as it will be read back from history, so that a live run sees just what a replayed one sees.
 * `undefined` stays `undefined`.
 */
export function asRecorded(value: unknown, what: string): unknown {
  if (value === undefined || value === null || typeof value === "boolean") return value;
  if (typeof value === "string") return bounded(value, value.length, what);
  let text: string | undefined;
  try {
    text = JSON.stringify(value);
  } catch (error) {
    throw new NotJsonError(`${what} cannot be recorded as JSON: ${(error as Error).message}`, {
      cause: error,
    });
  }
  if (text === undefined)
    throw new NotJsonError(`${what} cannot be recorded as JSON: it is a ${typeof value}.`);
  return bounded(JSON.parse(text), text.length, what);
}

function bounded<Value>(value: Value, length: number, what: string): Value {
  if (length <= maxRecordedLength) return value;
  throw new NotJsonError(
    `${what} is too long to be recorded: ${length} characters of ${maxRecordedLength} at most.`,
  );
}

/** SHA-256, in hex, of the value's JSON with object keys sorted: equal for requests that mean the same. */
export function fingerprint(value: unknown): string {
  return createHash("sha256").update(JSON.stringify(value, sortKeys)).digest("hex");
}

function sortKeys(_key: string, value: unknown): unknown {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).toSorted(([a], [b]) => (a < b ? -1 : 1)));
}
