/** A run that brought its host down so often without progress is paused. */
export const maxCrashes = 3;

/** The reason why a run is paused that cannot be run: resuming it gives it as many tries again. */
export class CrashLoopError extends Error {
  override readonly name = "CrashLoopError";

  /** `lastTime` says what happened at the last crash, as a sentence without its end. */
  constructor(crashes: number, lastTime: string) {
    super(
      `The run brought its host down ${crashes} times without progress. The last time ${lastTime}. Mend the agent, then resume the run.`,
    );
  }
}

/**
 * How often a run has brought its host down since it last made progress: a row of history beyond what it had at any crash
 * before. `seqs` are the last rows that it had at its crashes, the earliest first; `lastSeq` is the last one that it has.
 * Fewer rows than before are no progress: what was not durable was lost with the disk.
 */
export function crashesWithoutProgress(seqs: readonly number[], lastSeq: number): number {
  let furthest = -1;
  let crashes = 0;
  for (const seq of seqs) {
    crashes = seq > furthest ? 1 : crashes + 1;
    furthest = Math.max(furthest, seq);
  }
  return lastSeq > furthest ? 0 : crashes;
}
