import { RunCancelledError, RunNotFoundError, StepError } from "./errors.ts";
import type { Execution } from "./execution.ts";
import type { HistoryEvent, RunRecord } from "./journal.ts";
import { reviveError, serializeError, type SerializedError } from "./serialized-error.ts";
import { settled } from "./settled.ts";
import type { StepIdentity } from "./step-identity.ts";

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
  const row = await endOfChild(execution, identity, { agentId, input, started: call?.progress ?? null });
  return outcomeOf(await settled(execution, row));
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
  const run = await execution.ports.prepareRun(agentId, input, null);
  const data = { runId: run.id, agent: agentId };
  const row = await execution.record("child.detached", identity, { data }, () => [
    { kind: "create-run", run },
  ]);
  execution.ports.adopt(run);
  return startedRun(await settled(execution, row));
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
): Promise<HistoryEvent> {
  const { ports } = execution;
  let childId = (child.started?.data as { readonly runId: string } | undefined)?.runId;
  let waited = (): void => {};
  if (childId === undefined) {
    let run: RunRecord;
    const prepared = execution.waits.begin({ kind: "working" });
    try {
      run = await ports.prepareRun(child.agentId, child.input, execution.run);
    } catch (error) {
      return await execution.record("child.failed", identity, { data: serializeError(error) });
    } finally {
      prepared();
    }
    // Not before the row that tells for what: another row would make the run wait for nothing, were this one lost.
    waited = execution.waits.begin({ kind: "waiting", until: null });
    const data = { runId: run.id, agent: child.agentId };
    await execution.record("child.started", identity, { data }, () => [{ kind: "create-run", run }]);
    ports.adopt(run);
    childId = run.id;
  } else waited = execution.waits.begin({ kind: "waiting", until: null });
  const coming = ports.childEnd(childId, execution);
  const heard = execution.waits.keep(coming.forget);
  const end = await coming.promise;
  heard();
  if (end === undefined)
    return await execution.record("child.failed", identity, {
      data: serializeError(new RunNotFoundError(childId)),
    });
  waited();
  if (end.status === "completed")
    return await execution.record("child.completed", identity, { data: end.output });
  const error = end.error ?? serializeError(new RunCancelledError(end.id));
  return await execution.record("child.failed", identity, { data: error });
}

function outcomeOf({ kind, name, data }: HistoryEvent): unknown {
  if (kind === "child.completed") return data;
  throw new StepError(name, reviveError(data as SerializedError));
}
