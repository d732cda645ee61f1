/** What names a durable call within its run, the same in every replay. */
export interface StepIdentity {
  /** The branch; "" outside `step.map`. */
  readonly path: string;
  readonly name: string;
  /** How many calls with the same path and name came before. */
  readonly occurrence: number;
}

/** Names longer than this are a mistake (a text used as a name), and every row would carry them. */
const maxNameLength = 256;

export function identityKey(identity: StepIdentity): string {
  return `${identity.path}\u0000${identity.name}\u0000${identity.occurrence}`;
}

/** Stable over attempts and hosts; only characters that an HTTP header takes. */
export function idempotencyKeyOf(runId: string, identity: StepIdentity): string {
  const place = identity.path === "" ? identity.name : `${identity.path}/${identity.name}`;
  return `${runId}:${encodeURIComponent(place)}:${identity.occurrence}`;
}

/** Counts the calls of each name, so that a loop over one name stays told apart. */
export class StepCounter {
  readonly #counts = new Map<string, number>();

  /** Throws TypeError on a name that cannot name a step. */
  next(path: string, name: string): StepIdentity {
    if (typeof name !== "string" || name === "" || name.length > maxNameLength || name.includes("\u0000"))
      throw new TypeError(`A step's name must be a text of 1 to ${maxNameLength} characters.`);
    const key = `${path}\u0000${name}`;
    const occurrence = this.#counts.get(key) ?? 0;
    this.#counts.set(key, occurrence + 1);
    return { path, name, occurrence };
  }
}
