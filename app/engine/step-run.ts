import type { AttemptContext, StepFunction, StepOptions } from "./agent.ts";
import { parseDuration } from "./duration.ts";
import { StepError } from "./errors.ts";
import type { Execution } from "./execution.ts";
import type { HistoryEvent } from "./journal.ts";
import { asRecorded } from "./json.ts";
import { decideRetry, retryPolicy, type RetryPolicy } from "./retry.ts";
import { reviveError, serializeError, type SerializedError } from "./serialized-error.ts";
import { settled } from "./settled.ts";
import { idempotencyKeyOf, type StepIdentity } from "./step-identity.ts";
import { insideStep } from "./step-scope.ts";
import { passed } from "./step-sleep.ts";

/** An attempt that took longer than the step's `timeout`. */
class StepTimeoutError extends Error {
  override readonly name = "TimeoutError";
}

/** Calls `fn` until it returns or its policy is exhausted, and records which; nothing before it may be undurable. */
export async function runAttempts<Result>(
  execution: Execution,
  identity: StepIdentity,
  options: StepOptions,
  fn: StepFunction<Result>,
): Promise<unknown> {
  const policy = retryPolicy(options.retry, execution.agent.retry);
  const timeoutMs = options.timeout === undefined ? null : parseDuration(options.timeout, "timeout");
  return await attemptsOf(execution, identity, async (attempt, pauseUntil) => {
    await execution.effectsAllowed();
    return await execution.attempts.run(async () => {
      const result = await tryOnce(execution, identity, attempt, timeoutMs, fn);
      if ("value" in result)
        return await execution.record("step.completed", identity, { attempt, data: result.value });
      const failure = { attempt, thrown: result.thrown, policy };
      return await recordFailure(execution, identity, failure, pauseUntil);
    });
  });
}

/** Records what a failed attempt is followed by: another one, which `pauseUntil` is told of first, or the step's failure. */
export async function recordFailure(
  execution: Execution,
  identity: StepIdentity,
  failure: { readonly attempt: number; readonly thrown: unknown; readonly policy: RetryPolicy },
  pauseUntil: (at: number) => void,
): Promise<HistoryEvent> {
  const { attempt, thrown, policy } = failure;
  const next = decideRetry(policy, attempt, thrown, execution.clock.now());
  const error = serializeError(thrown);
  if (next.kind === "exhausted")
    return await execution.record("step.failed", identity, { attempt, data: error });
  pauseUntil(next.at);
  return await execution.record("step.retrying", identity, { attempt, data: { error, nextAt: next.at } });
}

/**
 * Gives the recorded result of a step, or makes one attempt after the other until a row says that the step has ended.
 * An attempt that was cut off by the platform left no row: it runs again under the same number.
 */
export async function attemptsOf(
  execution: Execution,
  identity: StepIdentity,
  attemptOnce: (attempt: number, pauseUntil: (at: number) => void) => Promise<HistoryEvent>,
): Promise<unknown> {
  const call = execution.replay.ask(identity, "step");
  if (call?.outcome) return resultOf(await settled(execution, call.outcome));
  if (!execution.replay.isLive) await execution.replay.frontier(`step "${identity.name}"`);
  let last = call?.progress ?? null;
  const doing = execution.waits.begin(
    last === null ? { kind: "working" } : { kind: "sleeping", until: nextAt(last) },
  );
  for (;;) {
    if (last !== null) {
      await passed(execution, nextAt(last));
      doing.become({ kind: "working" });
    }
    const row = await attemptOnce((last?.attempt ?? 0) + 1, (at) =>
      doing.become({ kind: "sleeping", until: at }),
    );
    if (row.kind === "step.retrying") {
      last = row;
      continue;
    }
    await settled(execution, row);
    doing.end();
    return resultOf(row);
  }
}

function resultOf(event: HistoryEvent): unknown {
  if (event.kind === "step.completed") return event.data;
  throw new StepError(event.name, reviveError(event.data as SerializedError));
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
  const time = attemptTime(execution, timeoutMs);
  try {
    execution.ports.guard.enter(execution);
    const context: AttemptContext = {
      get signal() {
        return time.signal();
      },
      attempt,
      get idempotencyKey() {
        return idempotencyKeyOf(execution.run.id, identity);
      },
    };
    const work = insideStep(execution, identity.name, () => fn(context));
    const value = time.up === null ? await work : await Promise.race([work, time.up.promise]);
    return { value: asRecorded(value, `The result of step "${identity.name}"`) };
  } catch (thrown) {
    return { thrown };
  } finally {
    time.end();
  }
}

/** The time of one attempt: its signal, made when it is asked for, and its end. */
function attemptTime(execution: Execution, timeoutMs: number | null) {
  let abort: AbortController | null = null;
  let expired: StepTimeoutError | null = null;
  const up = timeoutMs === null ? null : Promise.withResolvers<never>();
  const letGo = (): void => abort?.abort(execution.attempts.letGoReason);
  const cancelTimer =
    timeoutMs === null
      ? () => {}
      : execution.clock.setTimer(execution.clock.now() + timeoutMs, () => {
          expired = new StepTimeoutError(`The attempt took longer than its timeout of ${timeoutMs} ms.`);
          abort?.abort(expired);
          up?.reject(expired);
        });
  return {
    up,
    signal(): AbortSignal {
      if (abort === null) {
        abort = new AbortController();
        if (execution.attempts.letGoReason !== null) letGo();
        else execution.attempts.onLetGo.add(letGo);
        if (expired !== null) abort.abort(expired);
      }
      return abort.signal;
    },
    end(): void {
      cancelTimer();
      if (abort !== null) execution.attempts.onLetGo.delete(letGo);
    },
  };
}
