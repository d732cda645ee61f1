import { existsSync } from "node:fs";
import { NonRetryableError } from "holdfast";
import { execute } from "../execution-log.ts";

type Place = Parameters<typeof execute>[0];

/** Fails for good until the file is there. */
export async function executeOnceMended(
  place: Place,
  { attempt, mended }: { readonly attempt: number; readonly mended: string },
): Promise<string> {
  const done = await execute(place, { attempt, ms: 1 });
  if (!existsSync(mended)) throw new NonRetryableError("Not mended yet.");
  return done;
}
