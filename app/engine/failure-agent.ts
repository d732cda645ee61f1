import type { Agent, FailureContext, RunContext } from "./agent.ts";
import type { RunRecord } from "./journal.ts";
import { serializeError, type SerializedError } from "./serialized-error.ts";

/** What the run of an `onFailure` is given. */
interface FailureInput {
  readonly input: unknown;
  readonly error: SerializedError;
  readonly run: { readonly id: string; readonly agent: string };
}

/** No request can name it: an agent's own id has no "/". */
export function failureAgentId(agentId: string): string {
  return `${agentId}/onFailure`;
}

export function failureInput(run: RunRecord, thrown: unknown): FailureInput {
  return { input: run.input, error: serializeError(thrown), run: { id: run.id, agent: run.agent } };
}

/** One agent for each `onFailure`: so it is durable, retried and seen like any other run. */
export function failureAgents(agents: Iterable<Agent>): readonly (readonly [string, Agent])[] {
  return [...agents].flatMap((agent) => {
    const { onFailure } = agent;
    if (onFailure === null) return [];
    const id = failureAgentId(agent.id);
    const handler = async (context: RunContext<unknown>): Promise<unknown> => {
      const { input, error, run } = context.input as FailureInput;
      return await onFailure({ ...context, input, error, run } satisfies FailureContext<unknown>);
    };
    return [[id, { ...agent, id, handler, output: null, onFailure: null }] as const];
  });
}
