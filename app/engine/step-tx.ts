import type { Execution } from "./execution.ts";
import { JournalTroubleError } from "./errors.ts";
import type { HistoryEvent } from "./journal.ts";
import type { StepIdentity } from "./step-identity.ts";
import { attemptsOf, recordFailure } from "./step-run.ts";
import { insideStep } from "./step-scope.ts";
import { passed } from "./step-sleep.ts";

/** Between beginnings of a transaction that the file did not take. */
const retryTransactionMs = 1_000;

/**
 * A step whose record commits with what its function writes to the tenant's database: exactly once. No gate stands before
 * it, since nothing leaves the process.
 */
export async function runTransaction(
  execution: Execution,
  identity: StepIdentity,
  fn: (tx: never) => Promise<unknown>,
): Promise<unknown> {
  return await attemptsOf(execution, identity, async (attempt, pauseUntil): Promise<HistoryEvent> => {
    try {
      return await transactUntilTaken(execution, identity, attempt, fn);
    } catch (thrown) {
      const failure = { attempt, thrown, policy: execution.agent.retry };
      return await recordFailure(execution, identity, failure, pauseUntil);
    }
  });
}

/** What the platform cuts off is no attempt: it is begun again until the file takes it. */
async function transactUntilTaken(
  execution: Execution,
  identity: StepIdentity,
  attempt: number,
  fn: (tx: never) => Promise<unknown>,
): Promise<HistoryEvent> {
  for (;;) {
    try {
      return await execution.attempts.run(() =>
        execution.recordTransaction(identity, attempt, (tx) => {
          execution.ports.guard.enter(execution);
          return insideStep(execution, identity.name, () => fn(tx as never));
        }),
      );
    } catch (thrown) {
      if (!(thrown instanceof JournalTroubleError)) throw thrown;
      await passed(execution, execution.clock.now() + retryTransactionMs);
    }
  }
}
