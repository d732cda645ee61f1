import type { StandardSchemaV1 } from "@standard-schema/spec";
import { InvalidInputError } from "./errors.ts";

/**
 * Checks `value` against any Standard Schema (zod, valibot, arktype, …) and returns what the schema makes of it.
 * Throws InvalidInputError with the path of each issue; `what` names the value in its message.
 */
export async function checkValue<Schema extends StandardSchemaV1>(
  schema: Schema,
  value: unknown,
  what: string,
): Promise<StandardSchemaV1.InferOutput<Schema>> {
  const result = await schema["~standard"].validate(value);
  if (result.issues === undefined) return result.value;
  throw new InvalidInputError(
    what,
    result.issues.map((issue) => ({ path: readablePath(issue.path ?? []), message: issue.message })),
  );
}

function readablePath(path: readonly (PropertyKey | StandardSchemaV1.PathSegment)[]): string {
  return path.map((part) => String(typeof part === "object" ? part.key : part)).join(".");
}
