import type { Execution } from "./execution.ts";
import { settled } from "./settled.ts";
import type { StepIdentity } from "./step-identity.ts";

/** `until` is asked once, when the sleep is recorded; a replay sleeps until the moment that was recorded. */
export async function sleepUntil(
  execution: Execution,
  identity: StepIdentity,
  until: () => number,
): Promise<void> {
  const call = execution.replay.ask(identity, "sleep");
  if (call?.outcome) return void (await settled(execution, call.outcome));
  await execution.replay.frontier(`sleep "${identity.name}"`);
  const due = (call?.progress?.data as { readonly until: number } | undefined)?.until ?? until();
  const doing = execution.waits.begin({ kind: "sleeping", until: due });
  if (!call?.progress) await execution.record("sleep.started", identity, { data: { until: due } });
  await passed(execution, due);
  doing.become({ kind: "working" });
  const ended = await execution.record("sleep.ended", identity, {});
  await settled(execution, ended);
  doing.end();
}

/** Resolves at `due`; never, if the run is let go before. */
export function passed(execution: Execution, due: number): Promise<void> {
  return new Promise((resolve) => {
    const cancel = execution.clock.setTimer(due, () => {
      forget();
      resolve();
    });
    const forget = execution.waits.keep(cancel);
  });
}
