import { and, eq } from "drizzle-orm";
import { defineAgent, NonRetryableError } from "holdfast";
import { z } from "zod";

import { refunds } from "../../db/schema.ts";
import { pay } from "./refund/pay.ts";

const dayInSeconds = 24 * 60 * 60;

const input = z.strictObject({
  orderId: z.string().min(1).max(100),
  amountCents: z.int().positive(),
  decideWithinSeconds: z
    .number()
    .positive()
    .max(90 * dayInSeconds)
    .default(7 * dayInSeconds),
});

const decision = z.strictObject({ approve: z.boolean(), by: z.string().min(1).max(200) });

/**
 * Refunds an order once a person has approved of it: a row in the tenant's own table says how far it is, and the payment
 * service is asked with one key however often the step is tried. The row and the run's history never disagree, since
 * `step.tx` commits them together.
 */
export const refund = defineAgent(
  {
    id: "refund",
    input,
    retry: { maxAttempts: 5, delay: "1s" },
    async onFailure({ run, step }) {
      const settledAt = (await step.now()).getTime();
      await step.tx("mark as failed", async (tx) => {
        const own = and(eq(refunds.runId, run.id), eq(refunds.status, "open"));
        await tx.update(refunds).set({ status: "failed", settledAt }).where(own);
      });
    },
  },
  async ({ input: { orderId, amountCents, decideWithinSeconds }, step, run }) => {
    const openedAt = (await step.now()).getTime();
    await step.tx("open", async (tx) => {
      const row = { orderId, amountCents, status: "open", runId: run.id, openedAt } as const;
      const opened = await tx.insert(refunds).values(row).onConflictDoNothing().returning();
      if (opened.length === 0) throw new NonRetryableError(`Order "${orderId}" has a refund already.`);
    });

    run.setState("waits for a decision");
    const decided = await step.waitForSignal("decide", {
      signal: "decision",
      schema: decision,
      timeout: decideWithinSeconds * 1_000,
    });
    const decidedBy = decided?.payload.by ?? null;
    let status: "paid" | "refused" | "expired" = decided === null ? "expired" : "refused";
    let paymentId: string | null = null;
    if (decided?.payload.approve === true) {
      run.setState("pays");
      paymentId = await step.run("pay", { timeout: "30s" }, (attempt) =>
        pay({ orderId, amountCents }, attempt),
      );
      status = "paid";
    }

    const settledAt = (await step.now()).getTime();
    await step.tx("settle", async (tx) => {
      await tx
        .update(refunds)
        .set({ status, decidedBy, paymentId, settledAt })
        .where(eq(refunds.orderId, orderId));
    });
    run.setState(status);
    return { status, paymentId };
  },
);
