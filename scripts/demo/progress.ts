import { z } from "zod";

import type { HistoryRow } from "./runs-client.ts";

const listing = z.object({ documents: z.array(z.unknown()) });
const skippedDocument = z.object({ kind: z.literal("skipped") });

/** Steps of each document: read and outline in a run of its own, key sentences in the run of the digest. */
const stepsPerDocument = 3;

/** How far a run of `digest` is, by the rows of it and of its children. `total` is `undefined` until the list is recorded. */
export function progressOf(rows: readonly HistoryRow[]): {
  readonly done: number;
  readonly total: number | undefined;
} {
  const steps = recordedSteps(rows);
  const list = listing.safeParse(steps.find(({ name }) => name === "list")?.data).data;
  const skipped = steps.filter(({ data }) => skippedDocument.safeParse(data).success).length;
  return {
    done: steps.length,
    total: list && 1 + stepsPerDocument * list.documents.length - (stepsPerDocument - 1) * skipped,
  };
}

export function recordedSteps(rows: readonly HistoryRow[]): readonly HistoryRow[] {
  return rows.filter(({ kind }) => kind === "step.completed");
}
