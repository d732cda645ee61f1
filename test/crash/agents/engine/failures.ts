import { randomUUID } from "node:crypto";
import { defineAgent, NonRetryableError, RetryAfterError } from "holdfast";
import { z } from "zod";
import { refunds } from "../../../../db/schema.ts";
import { execute } from "../execution-log.ts";
import { executeOnceMended } from "./mended.ts";

/** Waits, fails for good with causes, and leaves a row for each time that its failure was seen to. */
export const doomed = defineAgent(
  {
    id: "doomed",
    input: z.object({ token: z.string() }),
    async onFailure({ input, error, run, step }) {
      await step.tx("note", async (tx) => {
        const row = { amountCents: 0, status: "failed", runId: run.id, openedAt: 0 } as const;
        await tx
          .insert(refunds)
          .values({ ...row, orderId: `${input.token}:${randomUUID()}`, decidedBy: error.name });
      });
      await step.sleep("a while", 1_000);
      return { seen: run.id, error };
    },
  },
  async ({ input: { token }, step, run }) => {
    await step.waitForSignal("go on?", { signal: "go" });
    const place = { run: run.id, token, step: "fail", level: 1 };
    await step.run("fail", async ({ attempt }) => {
      await execute(place, { attempt, ms: 1 });
      const cause = new Error("the card was declined", { cause: new TypeError("no such card") });
      throw new NonRetryableError("cannot be paid", { cause });
    });
  },
);

/** The first attempt is told when to come again; by its policy it would be an hour. */
export const told = defineAgent(
  {
    id: "told",
    input: z.object({ token: z.string(), afterMs: z.number() }),
    retry: { maxAttempts: 2, delay: "1h" },
  },
  async ({ input: { token, afterMs }, step, run }) => {
    const place = { run: run.id, token, step: "ask", level: 1 };
    return await step.run("ask", async ({ attempt }) => {
      await execute(place, { attempt, ms: 1 });
      if (attempt === 1) throw new RetryAfterError("come again", afterMs);
      return attempt;
    });
  },
);

/** An attempt that never ends by itself, and one that does. */
export const late = defineAgent(
  { id: "late", input: z.object({ token: z.string() }), retry: { maxAttempts: 2, delay: "1.5s" } },
  async ({ input: { token }, step, run }) => {
    const place = { run: run.id, token, step: "hang", level: 1 };
    return await step.run("hang", { timeout: "200ms" }, async ({ attempt, signal }) => {
      await execute(place, { attempt, ms: 1 });
      if (attempt > 1) return attempt;
      return await new Promise<number>((_resolve, reject) =>
        signal.addEventListener("abort", () => {
          void execute({ ...place, step: "aborted" }, { attempt, ms: 0 });
          reject(signal.reason as Error);
        }),
      );
    });
  },
);

/** Waits for longer than it may take in all. */
export const endless = defineAgent(
  { id: "endless", input: z.object({}), timeout: "3s" },
  async ({ step }) => void (await step.waitForSignal("go on?", { signal: "go" })),
);

/** Three steps; the second fails until the file `mended` is there. */
export const threeSteps = defineAgent(
  { id: "three-steps", input: z.object({ token: z.string(), mended: z.string() }) },
  async ({ input: { token, mended }, step, run }) => {
    const place = (name: string, level: number) => ({ run: run.id, token, step: name, level });
    const a = await step.run("a", ({ attempt }) => execute(place("a", 1), { attempt, ms: 1 }));
    const b = await step.run("b", ({ attempt }) => executeOnceMended(place("b", 2), { attempt, mended }));
    const c = await step.run("c", ({ attempt }) => execute(place("c", 3), { attempt, ms: 1 }));
    return [a, b, c];
  },
);
