import type { StandardSchemaV1 } from "@standard-schema/spec";
import type { ReceivedSignal, SignalOptions } from "./agent.ts";
import { parseDuration } from "./duration.ts";
import type { Execution } from "./execution.ts";
import type { HistoryEvent } from "./journal.ts";
import { settled } from "./settled.ts";
import type { SignalWaiter } from "./signal-exchange.ts";
import type { StepIdentity } from "./step-identity.ts";

/** Gives the oldest signal that nobody has taken, waits for one, or gives `null` when the time is up. */
export async function waitForSignal(
  execution: Execution,
  identity: StepIdentity,
  options: SignalOptions<StandardSchemaV1>,
): Promise<ReceivedSignal<never> | null> {
  if (typeof options?.signal !== "string" || options.signal === "")
    throw new TypeError(`step.waitForSignal("${identity.name}") needs { signal: "its name" }.`);
  const timeoutMs = options.timeout === undefined ? null : parseDuration(options.timeout, "timeout");
  const call = execution.replay.ask(identity, "signal");
  if (call?.outcome) return received(await settled(execution, call.outcome));
  await execution.replay.frontier(`signal "${identity.name}"`);
  const recordedUntil = (call?.progress?.data as { readonly until: number | null } | undefined)?.until;
  const until = recordedUntil ?? (timeoutMs === null ? null : execution.clock.now() + timeoutMs);
  const doing = execution.waits.begin({ kind: "waiting", until });
  if (call?.progress == null)
    await execution.record("signal.waiting", identity, { data: { signal: options.signal, until } });
  const row = await taken(execution, identity, options, until, () => doing.become({ kind: "working" }));
  const outcome = await settled(execution, row);
  doing.end();
  return received(outcome);
}

function received(event: HistoryEvent): ReceivedSignal<never> | null {
  return event.kind === "signal.received" ? (event.data as ReceivedSignal<never>) : null;
}

/** The row by which the wait ends; `onOver` is told when it is clear that it does. */
async function taken(
  execution: Execution,
  identity: StepIdentity,
  options: SignalOptions<StandardSchemaV1>,
  until: number | null,
  onOver: () => void,
): Promise<HistoryEvent> {
  return await new Promise((resolve) => {
    let stopTimer = (): void => {};
    const waiter: SignalWaiter = {
      signal: options.signal,
      schema: options.schema,
      identity,
      settle: resolve,
    };
    const leave = execution.signals.join(waiter, () => {
      onOver();
      stopTimer();
    });
    if (until === null) return;
    const cancel = execution.clock.setTimer(until, () => {
      if (leave()) void execution.record("signal.timed_out", identity, {}).then(resolve);
    });
    const forget = execution.waits.keep(cancel);
    stopTimer = () => {
      forget();
      cancel();
    };
  });
}
