/** An error as history keeps it: no stack, so that nothing of the host's paths leaves it. */
export interface SerializedError {
  readonly name: string;
  readonly message: string;
  /** The step that failed, if one did. */
  readonly step?: string;
  readonly cause?: SerializedError;
}

/** Causes beyond this depth are dropped: a cause may form a cycle. */
const maxCauseDepth = 8;

export function serializeError(thrown: unknown, depth = 0): SerializedError {
  if (!(thrown instanceof Error)) return { name: "Error", message: describe(thrown) };
  const step = "step" in thrown && typeof thrown.step === "string" ? { step: thrown.step } : {};
  const cause =
    thrown.cause === undefined || depth >= maxCauseDepth
      ? {}
      : { cause: serializeError(thrown.cause, depth + 1) };
  return { name: thrown.name, message: thrown.message, ...step, ...cause };
}

export function reviveError(error: SerializedError): Error {
  const revived = new Error(
    error.message,
    error.cause === undefined ? {} : { cause: reviveError(error.cause) },
  );
  revived.name = error.name;
  if (error.step !== undefined) Object.assign(revived, { step: error.step });
  return revived;
}

function describe(thrown: unknown): string {
  if (typeof thrown === "string") return thrown;
  try {
    return JSON.stringify(thrown) ?? String(thrown);
  } catch {
    return String(thrown);
  }
}
