import { defineAgent } from "holdfast";
import { z } from "zod";

/** Values that differ from call to call, a wait, and the same values, if the replay is right. */
export const values = defineAgent({ id: "values", input: z.object({}) }, async ({ step }) => {
  const made = async () => ({
    now: (await step.now()).toISOString(),
    uuid: await step.uuid(),
    random: await step.random(),
  });
  const first = await made();
  const second = await made();
  const noted = await step.run("note", () => ({ first, second }));
  await step.waitForSignal("go on?", { signal: "go" });
  return { noted, again: { first, second }, later: await made() };
});

/** Says how far it is. */
export const talker = defineAgent({ id: "talker", input: z.object({}) }, async ({ step, run }) => {
  run.setState({ at: "the start" });
  await step.run("work", () => null);
  run.setState({ at: "the wait", percent: 50 });
  await step.waitForSignal("go on?", { signal: "go" });
  run.setState({ at: "the end" });
});
