import { defineAgent } from "holdfast";
import { z } from "zod";
import { execute } from "./execution-log.ts";

/** A step whose first two attempts fail, however often the platform cuts one off, and a step after it. */
export const flaky = defineAgent(
  {
    id: "flaky",
    input: z.object({ token: z.string(), ms: z.number().max(1_000) }),
    // Just as many attempts as are needed: one that a kill had used up would be missing at the end.
    retry: { maxAttempts: 3, delay: 20, backoff: "fixed" },
  },
  async ({ input: { token, ms }, step, run }) => {
    const tried = { run: run.id, token, step: "try", level: 1 };
    const then = { run: run.id, token, step: "then", level: 2 };
    const result = await step.run("try", async ({ attempt }) => {
      const execution = await execute(tried, { attempt, ms });
      if (attempt < 3) throw new Error(`Attempt ${attempt} is meant to fail.`);
      return execution;
    });
    return [result, await step.run("then", ({ attempt }) => execute(then, { attempt, ms }))];
  },
);
