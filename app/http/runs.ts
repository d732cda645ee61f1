import { Hono, type Context } from "hono";
import { z } from "zod";
import { RunNotFoundError } from "../engine/errors.ts";
import { runStatuses } from "../engine/journal.ts";
import { allow } from "./authenticate.ts";
import { answersFor } from "./gate.ts";
import type { Place } from "./place.ts";
import { readQuery, reads, wholeNumber } from "./reads.ts";
import type { HttpEnv } from "./request-context.ts";
import { historyJson, runJson } from "./run-json.ts";

/** The reads of `/v1/runs`. */
export function runRoutes(place: Place): Hono<HttpEnv> {
  return new Hono<HttpEnv>()
    .get(
      "/runs",
      allow("runs:read"),
      reads((c) => readQuery(c, listQuery)),
      place(),
      async (c) => {
        const { agent, status, limit, cursor: before } = c.req.valid("json");
        // One more than is shown tells whether there is a next page.
        const found = await c.var.tenant.runs.list({ agent, status, before, limit: limit + 1 });
        const items = found.slice(0, limit);
        for (const run of items) answersFor(c, run);
        const last = items.at(-1);
        const next = found.length > limit && last !== undefined ? toCursor(last.id) : null;
        return c.json({ items: items.map(runJson), next });
      },
    )
    .get(
      "/runs/:id",
      allow("runs:read"),
      reads((c) => ({ runId: readRunId(c) })),
      place(),
      async (c) => {
        const run = await c.var.tenant.runs.get(c.req.valid("json").runId);
        answersFor(c, run);
        return c.json(runJson(run));
      },
    )
    .get("/runs/:id/history", allow("runs:read"), reads(readHistory), place(), async (c) => {
      const { runId, after, limit } = c.req.valid("json");
      const { runs } = c.var.tenant;
      const found = await runs.history(runId, { after, limit: limit + 1 });
      answersFor(c, await runs.get(runId));
      const items = found.slice(0, limit);
      const next = found.length > limit ? (items.at(-1)?.seq ?? null) : null;
      return c.json({ items: items.map(historyJson), next });
    });
}

/** The run that the path names. Throws RunNotFoundError for what cannot be a run's id. */
export function readRunId(c: Context): string {
  const id = c.req.param("id") ?? "";
  if (!isRunId(id)) throw new RunNotFoundError(id.slice(0, 100));
  return id;
}

const listQuery = z.object({
  agent: z
    .string()
    .regex(/^[A-Za-z0-9._/-]{1,80}$/, "must be an agent's id")
    .optional(),
  status: z.enum(runStatuses).optional(),
  limit: wholeNumber({ min: 1, max: 200 }).default(50),
  cursor: z.string().transform(readCursor).optional(),
});

const historyQuery = z.object({
  after: wholeNumber({ min: 0, max: Number.MAX_SAFE_INTEGER }).default(0),
  limit: wholeNumber({ min: 1, max: 500 }).default(100),
});

function readHistory(c: Context) {
  return { runId: readRunId(c), ...readQuery(c, historyQuery) };
}

/** Opaque, so that a list may come to be ordered by more than ids. */
function toCursor(runId: string): string {
  return Buffer.from(runId).toString("base64url");
}

function readCursor(cursor: string, context: z.RefinementCtx): string {
  const runId = Buffer.from(cursor, "base64url").toString();
  if (isRunId(runId) && toCursor(runId) === cursor) return runId;
  context.addIssue("must be the `next` of the page before");
  return z.NEVER;
}

function isRunId(text: string): boolean {
  return /^[\x21-\x7e]{1,128}$/.test(text);
}
