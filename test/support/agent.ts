import * as z from "zod";
import { defineAgent, type Agent, type AgentOptions, type RunContext } from "../../app/engine/agent.ts";

type Options = Partial<Omit<AgentOptions<z.ZodUnknown, unknown>, "input">>;

/** An agent that takes any input; its id is "agent" unless the options say otherwise. */
export function anyAgent(handler: (context: RunContext<unknown>) => unknown, options: Options = {}): Agent {
  return defineAgent({ id: "agent", ...options, input: z.unknown() }, handler) as unknown as Agent;
}
