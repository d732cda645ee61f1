import type { Execution } from "./execution.ts";
import { settled } from "./settled.ts";
import type { StepIdentity } from "./step-identity.ts";

/** Makes a value once and records it; a replay gives the same one. */
export async function recordValue(
  execution: Execution,
  identity: StepIdentity,
  make: () => string | number,
): Promise<unknown> {
  const call = execution.replay.ask(identity, "value");
  if (call?.outcome) return (await settled(execution, call.outcome)).data;
  await execution.replay.frontier(`value "${identity.name}"`);
  const doing = execution.waits.begin({ kind: "working" });
  const row = await execution.record("value.recorded", identity, { data: make() });
  const { data } = await settled(execution, row);
  doing.end();
  return data;
}
