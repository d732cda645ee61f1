import { defineAgent } from "holdfast";
import { z } from "zod";
import { execute } from "./execution-log.ts";

/** A step, a sleep, a step. */
export const nap = defineAgent(
  {
    id: "nap",
    input: z.object({ token: z.string(), ms: z.number().max(1_000), napMs: z.number().max(60_000) }),
  },
  async ({ input: { token, ms, napMs }, step, run }) => {
    const place = { run: run.id, token };
    const before = { ...place, step: "before", level: 1 };
    const after = { ...place, step: "after", level: 2 };
    const first = await step.run("before", ({ attempt }) => execute(before, { attempt, ms }));
    await step.sleep("nap", napMs);
    return [first, await step.run("after", ({ attempt }) => execute(after, { attempt, ms }))];
  },
);
