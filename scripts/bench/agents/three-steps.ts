import { defineAgent } from "holdfast";
import * as z from "zod";

const payload = "x".repeat(200);

/** What the bench's worker runs. */
export const threeSteps = defineAgent({ id: "three-steps", input: z.object({}) }, async ({ step }) => {
  for (const name of ["one", "two", "three"]) await step.run(name, () => payload);
  return null;
});
