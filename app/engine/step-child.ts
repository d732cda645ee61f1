import { RunCancelledError, RunNotFoundError, StepError } from "./errors.ts";
import type { Execution } from "./execution.ts";
import type { HistoryEvent, RunRecord } from "./journal.ts";
import { reviveError, serializeError, type SerializedError } from "./serialized-error.ts";
import { settled } from "./settled.ts";
import type { StepIdentity } from "./step-identity.ts";
import type { Doing } from "./waits.ts";

/** Runs another agent, once however often this run is replayed, and gives its output. Throws StepError. */
export async function invokeChild(
  execution: Execution,
  identity: StepIdentity,
  agentId: string,
  input: unknown,
): Promise<unknown> {
  const call = execution.replay.ask(identity, "child");
  execution.hasChildren = true;
  if (call?.outcome) return outcomeOf(await settled(execution, call.outcome));
  await execution.replay.frontier(`child "${identity.name}"`);
  const doing = execution.waits.begin({ kind: "working" });
  const child = { agentId, input, started: call?.progress ?? null };
  const row = await endOfChild(execution, identity, child, doing);
  const outcome = await settled(execution, row);
  doing.end();
  return outcomeOf(outcome);
}

/** Starts a run that lives on its own, once however often this run is replayed. */
export async function startDetached(
  execution: Execution,
  identity: StepIdentity,
  agentId: string,
  input: unknown,
): Promise<{ readonly runId: string }> {
  const call = execution.replay.ask(identity, "start");
  if (call?.outcome) return startedRun(await settled(execution, call.outcome));
  await execution.replay.frontier(`start "${identity.name}"`);
  const doing = execution.waits.begin({ kind: "working" });
  try {
    const run = await execution.ports.prepareRun(agentId, input, null);
    const data = { runId: run.id, agent: agentId };
    const row = await execution.record("child.detached", identity, { data }, () => [
      { kind: "create-run", run },
    ]);
    execution.ports.adopt(run);
    return startedRun(await settled(execution, row));
  } finally {
    doing.end();
  }
}

/** The row says more than the call gives, live as in a replay. */
function startedRun({ data }: HistoryEvent): { readonly runId: string } {
  return { runId: (data as { readonly runId: string }).runId };
}

/** The row that says how the child ended. The child and the row that tells of it are committed together. */
async function endOfChild(
  execution: Execution,
  identity: StepIdentity,
  child: { readonly agentId: string; readonly input: unknown; readonly started: HistoryEvent | null },
  doing: Doing,
): Promise<HistoryEvent> {
  const { ports } = execution;
  let childId = (child.started?.data as { readonly runId: string } | undefined)?.runId;
  if (childId === undefined) {
    let run: RunRecord;
    try {
      run = await ports.prepareRun(child.agentId, child.input, execution.run);
    } catch (error) {
      return await execution.record("child.failed", identity, { data: serializeError(error) });
    }
    const data = { runId: run.id, agent: child.agentId };
    // The run waits no sooner than the row tells for what: it would wait for nothing, were this one lost.
    doing.become({ kind: "waiting", until: null });
    await execution.record("child.started", identity, { data }, () => [{ kind: "create-run", run }]);
    ports.adopt(run);
    childId = run.id;
  } else doing.become({ kind: "waiting", until: null });
  const coming = ports.childEnd(childId, execution);
  const heard = execution.waits.keep(coming.forget);
  const end = await coming.promise;
  heard();
  doing.become({ kind: "working" });
  if (end === undefined)
    return await execution.record("child.failed", identity, {
      data: serializeError(new RunNotFoundError(childId)),
    });
  if (end.status === "completed")
    return await execution.record("child.completed", identity, { data: end.output });
  const error = end.error ?? serializeError(new RunCancelledError(end.id));
  return await execution.record("child.failed", identity, { data: error });
}

function outcomeOf({ kind, name, data }: HistoryEvent): unknown {
  if (kind === "child.completed") return data;
  throw new StepError(name, reviveError(data as SerializedError));
}
