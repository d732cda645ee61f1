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

/** Texts of errors beyond this are cut: every row of a run's history is read again when it is replayed. */
const maxTextLength = 16_384;

/** Never throws: agent code may throw anything, objects whose getters throw among it. */
export function serializeError(thrown: unknown, depth = 0): SerializedError {
  try {
    if (!(thrown instanceof Error)) return { name: "Error", message: textOf(describe(thrown)) };
    const step = "step" in thrown && typeof thrown.step === "string" ? { step: thrown.step } : {};
    const cause =
      thrown.cause === undefined || depth >= maxCauseDepth
        ? {}
        : { cause: serializeError(thrown.cause, depth + 1) };
    return { name: textOf(thrown.name), message: textOf(thrown.message), ...step, ...cause };
  } catch {
    return { name: "Error", message: "Something was thrown that cannot be read." };
  }
}

function textOf(value: unknown): string {
  const text = typeof value === "string" ? value : String(value);
  return text.length > maxTextLength ? `${text.slice(0, maxTextLength)}…` : text;
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
