import type { Execution } from "./execution.ts";
import { hasEnded, type RunRecord } from "./journal.ts";
import type { RunEndings } from "./run-endings.ts";
import { turn } from "./turn.ts";

/** A child that could not be read is read again after so long. */
const readAgainMs = 1_000;

/** A parent's wait for the end of a run. */
export interface ChildEnd {
  /** Resolves when the run has ended, however long that takes, or with undefined if it was deleted; never, once forgotten. */
  readonly promise: Promise<RunRecord | undefined>;
  readonly forget: () => void;
}

export function childEnd(runId: string, parent: Execution, endings: RunEndings): ChildEnd {
  const { clock, journal, log } = parent.ports;
  let forget = (): void => {};
  const wait = async (): Promise<RunRecord | undefined> => {
    for (;;) {
      // What the parent waits for may be here: it must not leave memory while that is read.
      const heard = parent.hear();
      const ending = endings.next(runId, null);
      forget = ending.forget;
      try {
        const run = await journal.run(runId);
        if (run === undefined || hasEnded(run.status)) {
          // Until the parent has begun to record what it hears.
          void turn().then(parent.hear());
          return run;
        }
      } catch (error) {
        log.warn({ err: error, run: parent.run.id, child: runId }, "a child could not be read; trying again");
        parent.waits.keep(clock.setTimer(clock.now() + readAgainMs, () => endings.announce(runId)));
      } finally {
        heard();
      }
      await ending.announced;
      ending.forget();
    }
  };
  return { promise: wait().finally(() => forget()), forget: () => forget() };
}
