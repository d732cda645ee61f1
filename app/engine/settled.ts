import type { Execution } from "./execution.ts";
import type { HistoryEvent } from "./journal.ts";

/** Gives the outcome to the code when its turn has come, after those with earlier rows; never, once the run is let go. */
export function settled(execution: Execution, outcome: HistoryEvent): Promise<HistoryEvent> {
  return new Promise((resolve) =>
    execution.replay.settleInOrder(outcome, (event) => {
      execution.ports.guard.enter(execution);
      resolve(event);
    }),
  );
}
