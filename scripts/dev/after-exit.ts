import type { WorkerExit } from "./worker-process.ts";

export type Reaction =
  /** Start again after so long; an edit starts it sooner. */
  | { readonly kind: "again"; readonly delayMs: number }
  /** Only an edit can mend it, or it ended because it was done. */
  | { readonly kind: "await-edit" };

const maxCrashes = 3;
const firstDelayMs = 500;

/**
 * What follows when the worker ended by itself. One that never became ready has a wrong setting or a broken module, which
 * starting again does not mend; one that was ready gets `maxCrashes` further lives. `crashes` counts this one, and those
 * before it that no edit came between.
 */
export function reactToExit(
  exit: WorkerExit,
  life: { readonly wasReady: boolean; readonly crashes: number },
): Reaction {
  const crashed = exit.code !== 0;
  if (!crashed || !life.wasReady || life.crashes > maxCrashes) return { kind: "await-edit" };
  return { kind: "again", delayMs: firstDelayMs * 2 ** (life.crashes - 1) };
}

/** How it ended, in words. */
export function describeExit({ code, signal }: WorkerExit): string {
  if (signal !== null) return `was ended by ${signal}`;
  return code === 0 ? "ended by itself" : `stopped with exit code ${code}`;
}
