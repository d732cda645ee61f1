import { defineAgent } from "holdfast";
import { z } from "zod";
import { execute } from "./execution-log.ts";

/** A step, several at once, and a step that rests on all of them. */
export const fan = defineAgent(
  {
    id: "fan",
    input: z.object({ token: z.string(), ms: z.number().max(1_000), width: z.int().min(1).max(20) }),
  },
  async ({ input: { token, ms, width }, step, run }) => {
    const call = (name: string, level: number): Promise<string> =>
      step.run(name, ({ attempt }) => execute({ run: run.id, token, step: name, level }, { attempt, ms }));
    const split = await call("split", 1);
    const parts = await Promise.all(Array.from({ length: width }, (_, index) => call(`part${index}`, 2)));
    return [split, ...parts, await call("join", 3)];
  },
);
