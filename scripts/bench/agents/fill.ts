import { sql } from "drizzle-orm";
import { defineAgent } from "holdfast";
import * as z from "zod";

const rowBytes = 1_000_000;
/** So many in one transaction: more would keep the event loop too long. */
const rowsPerStep = 5;

/** Makes the tenant's file as large as it is told, by what cannot be compressed. */
export const fill = defineAgent(
  { id: "fill", input: z.object({ megabytes: z.number() }) },
  async ({ input, step }) => {
    await step.tx("table", async (tx) => void (await tx.run(sql`CREATE TABLE filler (content BLOB)`)));
    for (let rows = 0; rows < input.megabytes; rows += rowsPerStep)
      await step.tx(`rows ${rows}`, async (tx) => {
        const count = Math.min(rowsPerStep, input.megabytes - rows);
        for (let row = 0; row < count; row += 1)
          await tx.run(sql`INSERT INTO filler VALUES (randomblob(${rowBytes}))`);
      });
    return null;
  },
);
