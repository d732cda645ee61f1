import type { RunContext, RunLogger } from "./agent.ts";
import type { Execution } from "./execution.ts";
import { asRecorded } from "./json.ts";
import { checkValue } from "./schema.ts";
import { createStep } from "./step.ts";

/** How a call of an agent's function has ended. */
export type Ending = { readonly output: unknown } | { readonly thrown: unknown };

/** Calls the agent's function for the run, and gives what came of it. */
export async function callAgent(execution: Execution): Promise<Ending> {
  const { agent, ports, run } = execution;
  const what = `The output of agent "${agent.id}"`;
  try {
    const context: RunContext<unknown> = {
      // A copy, since the agent may change it while the run's first row waits to be written.
      input: asRecorded(run.input, "The input"),
      step: createStep(execution),
      run: { id: run.id, agent: run.agent, setState: (value) => execution.setState(value) },
      tenant: { id: ports.tenantId },
      log: loggerOf(execution),
    };
    const output = await ports.guard.begin(execution, () => agent.handler(context));
    const { output: schema } = agent;
    return { output: asRecorded(schema === null ? output : await checkValue(schema, output, what), what) };
  } catch (thrown) {
    return { thrown };
  }
}

/** A replay does not say again what the run has said. */
function loggerOf({ ports, run, replay }: Execution): RunLogger {
  const bound = { tenant: ports.tenantId, run: run.id, agent: run.agent };
  const say =
    (level: "info" | "warn" | "error") =>
    (message: string, facts?: Readonly<Record<string, unknown>>): void => {
      if (!replay.replaying) ports.log[level]({ ...facts, ...bound }, message);
    };
  return { info: say("info"), warn: say("warn"), error: say("error") };
}
