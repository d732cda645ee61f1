import type { StepFunction, StepOptions } from "./agent.ts";
import { parseDuration } from "./duration.ts";
import { StepError } from "./errors.ts";
import type { Execution } from "./execution.ts";
import { asRecorded } from "./json.ts";
import { decideRetry, retryPolicy } from "./retry.ts";
import { reviveError, serializeError, type SerializedError } from "./serialized-error.ts";
import { idempotencyKeyOf, type StepIdentity } from "./step-identity.ts";
import { passed } from "./step-sleep.ts";
import type { HistoryEvent } from "./journal.ts";

/** An attempt that took longer than the step's `timeout`. */
class StepTimeoutError extends Error {
  override readonly name = "TimeoutError";
}

/**
 * Gives the recorded result of a step, or calls `fn` until it returns or its policy is exhausted, and records which.
 * An attempt that was cut off by the platform left no row: it runs again under the same number.
 */
export async function runAttempts<Result>(
  execution: Execution,
  identity: StepIdentity,
  options: StepOptions,
  fn: StepFunction<Result>,
): Promise<unknown> {
  const policy = retryPolicy(options.retry, execution.agent.retry);
  const timeoutMs = options.timeout === undefined ? null : parseDuration(options.timeout, "timeout");
  const call = execution.replay.ask(identity, "step");
  const outcome = call?.outcome;
  if (outcome) {
    return await new Promise((resolve, reject) =>
      execution.replay.settleInOrder(outcome, (event) => settle(event, resolve, reject)),
    );
  }
  await execution.replay.frontier(`step "${identity.name}"`);
  let last = call?.progress ?? null;
  let endPause = last === null ? null : execution.waits.begin({ kind: "sleeping", until: nextAt(last) });
  for (;;) {
    const attempt = (last?.attempt ?? 0) + 1;
    if (last !== null) await passed(execution, nextAt(last));
    endPause?.();
    const done = execution.waits.begin({ kind: "working" });
    await execution.effectsAllowed();
    const row = await execution.attempt(async () => {
      const result = await tryOnce(execution, identity, attempt, timeoutMs, fn);
      if ("value" in result)
        return await execution.record("step.completed", identity, { attempt, data: result.value });
      const next = decideRetry(policy, attempt, result.thrown, execution.clock.now());
      const error = serializeError(result.thrown);
      if (next.kind === "exhausted")
        return await execution.record("step.failed", identity, { attempt, data: error });
      // Before the row, so that the run's status says with it for how long nothing happens.
      done();
      endPause = execution.waits.begin({ kind: "sleeping", until: next.at });
      return await execution.record("step.retrying", identity, { attempt, data: { error, nextAt: next.at } });
    });
    if (row.kind === "step.retrying") {
      last = row;
      continue;
    }
    return await new Promise((resolve, reject) =>
      execution.replay.settleInOrder(row, (event) => {
        done();
        settle(event, resolve, reject);
      }),
    );
  }
}

function settle(
  event: HistoryEvent,
  resolve: (value: unknown) => void,
  reject: (error: Error) => void,
): void {
  if (event.kind === "step.completed") resolve(event.data);
  else reject(new StepError(event.name, reviveError(event.data as SerializedError)));
}

/** When the attempt after a `step.retrying` row is due. */
function nextAt({ data }: HistoryEvent): number {
  return (data as { readonly nextAt: number }).nextAt;
}

async function tryOnce<Result>(
  execution: Execution,
  identity: StepIdentity,
  attempt: number,
  timeoutMs: number | null,
  fn: StepFunction<Result>,
): Promise<{ readonly value: unknown } | { readonly thrown: unknown }> {
  const abort = new AbortController();
  const letGo = (): void => abort.abort(execution.abort.signal.reason);
  execution.abort.signal.addEventListener("abort", letGo, { once: true });
  let cancelTimer = (): void => {};
  try {
    const work = Promise.resolve(
      fn({ signal: abort.signal, attempt, idempotencyKey: idempotencyKeyOf(execution.run.id, identity) }),
    );
    const timeUp = new Promise<never>((_resolve, reject) => {
      if (timeoutMs === null) return;
      cancelTimer = execution.clock.setTimer(execution.clock.now() + timeoutMs, () => {
        const error = new StepTimeoutError(`The attempt took longer than its timeout of ${timeoutMs} ms.`);
        abort.abort(error);
        reject(error);
      });
    });
    return { value: asRecorded(await Promise.race([work, timeUp]), `The result of step "${identity.name}"`) };
  } catch (thrown) {
    return { thrown };
  } finally {
    cancelTimer();
    execution.abort.signal.removeEventListener("abort", letGo);
  }
}
