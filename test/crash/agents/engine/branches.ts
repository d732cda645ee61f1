import { setTimeout as sleep } from "node:timers/promises";
import { defineAgent } from "holdfast";
import { z } from "zod";
import { execute } from "../execution-log.ts";

/** A branch an item, each of two steps. */
export const wide = defineAgent(
  { id: "wide", input: z.object({ token: z.string(), width: z.int().max(1_000), concurrency: z.int() }) },
  async ({ input: { token, width, concurrency }, step, run }) => {
    const items = Array.from({ length: width }, (_, index) => index);
    return await step.map("branch", items, { concurrency }, async (item, branch) => {
      const place = { run: run.id, token, step: `work ${item}`, level: 1 };
      const done = await branch.step.run("work", ({ attempt }) => execute(place, { attempt, ms: 5 }));
      const doubled = await branch.step.run("double", () => item * 2);
      return { index: branch.index, doubled, done };
    });
  },
);

/** Some steps together, some against each other; a wait; and the same results again, if the replay is right. */
export const together = defineAgent(
  { id: "together", input: z.object({ token: z.string() }) },
  async ({ step, run, input: { token } }) => {
    const timed = (name: string, ms: number): Promise<string> =>
      step.run(name, async () => {
        await sleep(ms);
        return name;
      });
    const order: string[] = [];
    const noted = async (name: string, ms: number): Promise<string> => {
      const result = await timed(name, ms);
      order.push(result);
      return result;
    };
    const all = await Promise.all([noted("slow", 120), noted("middle", 60), noted("quick", 5)]);
    const winner = await Promise.race([timed("tortoise", 250), timed("hare", 10)]);
    const before = { all, winner, order: [...order] };
    const place = { run: run.id, token, step: "note", level: 2 };
    const first = await step.run("note", async ({ attempt }) => {
      await execute(place, { attempt, ms: 0 });
      return before;
    });
    await step.waitForSignal("go on?", { signal: "go" });
    return { first, again: before };
  },
);
