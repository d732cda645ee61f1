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
  const row = await waitLive(execution, identity, options, timeoutMs, call?.progress ?? null);
  return received(await settled(execution, row));
}

function received(event: HistoryEvent): ReceivedSignal<never> | null {
  return event.kind === "signal.received" ? (event.data as ReceivedSignal<never>) : null;
}

async function waitLive(
  execution: Execution,
  identity: StepIdentity,
  options: SignalOptions<StandardSchemaV1>,
  timeoutMs: number | null,
  progress: HistoryEvent | null,
): Promise<HistoryEvent> {
  const recordedUntil = (progress?.data as { readonly until: number | null } | undefined)?.until;
  const until = recordedUntil ?? (timeoutMs === null ? null : execution.clock.now() + timeoutMs);
  const ended = execution.waits.begin({ kind: "waiting", until });
  if (progress === null)
    await execution.record("signal.waiting", identity, { data: { signal: options.signal, until } });
  return await new Promise((resolve) => {
    let stopTimer = (): void => {};
    const waiter: SignalWaiter = {
      signal: options.signal,
      schema: options.schema,
      identity,
      settle: resolve,
    };
    const leave = execution.signals.join(waiter, () => {
      ended();
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
