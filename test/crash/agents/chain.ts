import { defineAgent } from "holdfast";
import { z } from "zod";
import { execute } from "./execution-log.ts";

/** Steps one after the other. */
export const chain = defineAgent(
  {
    id: "chain",
    input: z.object({ token: z.string(), steps: z.int().min(1).max(50), ms: z.number().max(1_000) }),
  },
  async ({ input: { token, steps, ms }, step, run }) => {
    const results: string[] = [];
    for (let level = 1; level <= steps; level += 1) {
      const place = { run: run.id, token, step: `s${level}`, level };
      results.push(await step.run(place.step, ({ attempt }) => execute(place, { attempt, ms })));
    }
    return results;
  },
);
