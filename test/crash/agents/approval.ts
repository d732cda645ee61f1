import { defineAgent } from "holdfast";
import { z } from "zod";
import { execute } from "./execution-log.ts";

/** A step, a wait for the signal `go` without end, and a step; the output shows the signal's payload. */
export const approval = defineAgent(
  { id: "approval", input: z.object({ token: z.string(), ms: z.number().max(1_000) }) },
  async ({ input: { token, ms }, step, run }) => {
    const ask = { run: run.id, token, step: "ask", level: 1 };
    const act = { run: run.id, token, step: "act", level: 2 };
    const asked = await step.run("ask", ({ attempt }) => execute(ask, { attempt, ms }));
    const decision = await step.waitForSignal("go?", { signal: "go", schema: z.object({ by: z.string() }) });
    const acted = await step.run("act", ({ attempt }) => execute(act, { attempt, ms }));
    return [asked, acted, `${token}:by:${decision?.payload.by}`];
  },
);
