import { randomUUID } from "node:crypto";
import { defineAgent } from "holdfast";
import { z } from "zod";
import { refunds } from "../../../../db/schema.ts";
import { execute } from "../execution-log.ts";

/** Transactions one after the other; each adds a row under a name of its own, so that one that committed twice would show. */
export const rows = defineAgent(
  { id: "rows", input: z.object({ token: z.string(), count: z.int().max(100), ms: z.number().max(1_000) }) },
  async ({ input: { token, count, ms }, step, run }) => {
    for (let index = 0; index < count; index += 1) {
      const orderId = `${token}:${index}`;
      await step.tx(`row ${index}`, async (tx) => {
        const row = { amountCents: index, status: "open", runId: run.id, openedAt: index } as const;
        await tx.insert(refunds).values({ ...row, orderId: `${orderId}:${randomUUID()}` });
        return orderId;
      });
      const place = { run: run.id, token, step: `pause ${index}`, level: index + 1 };
      await step.run(place.step, ({ attempt }) => execute(place, { attempt, ms }));
    }
    return count;
  },
);
