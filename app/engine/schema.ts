import type { StandardSchemaV1 } from "@standard-schema/spec";
import { InvalidInputError } from "./errors.ts";
import { asRecorded, NotJsonError } from "./json.ts";

/**
 * Checks `value` against any Standard Schema (zod, valibot, arktype, …), or against none, and gives what it makes of it as
 * it will be recorded. Throws InvalidInputError with the path of each issue, also for what has no JSON form; `what` names
 * the value in its message. An error of the schema itself is passed on.
 */
export async function checkValue(
  schema: StandardSchemaV1 | undefined,
  value: unknown,
  what: string,
): Promise<unknown> {
  if (schema === undefined) return recordable(value, what);
  const result = await schema["~standard"].validate(value);
  if (result.issues === undefined) return recordable(result.value, what);
  throw new InvalidInputError(
    what,
    result.issues.map((issue) => ({ path: readablePath(issue.path ?? []), message: issue.message })),
  );
}

/** As `asRecorded`, for a value from outside. Throws InvalidInputError. */
export function recordable(value: unknown, what: string): unknown {
  try {
    return asRecorded(value, what);
  } catch (error) {
    if (error instanceof NotJsonError)
      throw new InvalidInputError(what, [{ path: "", message: error.message }]);
    throw error;
  }
}

function readablePath(path: readonly (PropertyKey | StandardSchemaV1.PathSegment)[]): string {
  return path.map((part) => String(typeof part === "object" ? part.key : part)).join(".");
}
