import { defineAgent } from "holdfast";
import * as z from "zod";

/** A run that leaves memory, and its tenant with it. */
export const sleeper = defineAgent({ id: "sleeper", input: z.object({}) }, async ({ step }) => {
  await step.sleep("for days", "30 days");
  return null;
});
