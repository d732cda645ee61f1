import { Hono, type Context, type MiddlewareHandler } from "hono";
import { z } from "zod";
import type { ListedRun } from "../engine/journal.ts";
import type { Runs } from "../engine/runs.ts";
import { allow } from "./authenticate.ts";
import { readOptionalBody } from "./body.ts";
import { answersFor } from "./gate.ts";
import type { Place } from "./place.ts";
import { reads } from "./reads.ts";
import type { HttpEnv } from "./request-context.ts";
import { runJson } from "./run-json.ts";
import { readRunId } from "./runs.ts";

/**
 * What is done to a run from outside: `POST /v1/runs/{id}/cancel`, `/pause`, `/resume`, `/retry`, `/fork`, and `DELETE`. Only a
 * cancelled and a paused run answer a second request as they did the first.
 */
export function controlRoutes(place: Place): Hono<HttpEnv> {
  return new Hono<HttpEnv>()
    .post("/runs/:id/cancel", ...changes(place("always"), (runs, { runId }) => runs.cancel(runId)))
    .post("/runs/:id/pause", ...changes(place("always"), (runs, { runId }) => runs.pause(runId)))
    .post("/runs/:id/resume", ...changes(place(), (runs, { runId }) => runs.resume(runId)))
    .post("/runs/:id/retry", ...changes(place(), (runs, { runId, from }) => runs.retry(runId, from)))
    .post("/runs/:id/fork", allow("runs:write"), reads(readPlace), place(), async (c) => {
      const { runId, from } = c.req.valid("json");
      const fork = await c.var.tenant.runs.fork(runId, from);
      answersFor(c, fork);
      return c.json(runJson(fork), 202, { location: `/v1/runs/${encodeURIComponent(fork.id)}` });
    })
    .delete("/runs/:id", allow("runs:write"), reads(readId), place(), async (c) => {
      const { runId } = c.req.valid("json");
      answersFor(c, await c.var.tenant.runs.get(runId));
      await c.var.tenant.runs.remove(runId);
      return c.body(null, 204);
    });
}

interface Change {
  readonly runId: string;
  readonly from?: From | undefined;
}

/** The run as it is after the change. */
function changes(
  placed: MiddlewareHandler<HttpEnv>,
  change: (runs: Runs, request: Change) => Promise<ListedRun>,
) {
  return [
    allow("runs:write"),
    reads(readPlace),
    placed,
    async (c: Context<HttpEnv, string, { out: { json: Change } }>) => {
      const run = await change(c.var.tenant.runs, c.req.valid("json"));
      answersFor(c, run);
      return c.json(runJson(run));
    },
  ] as const;
}

const placeBody = z.strictObject({
  from: z
    .strictObject({
      path: z.string().max(1_000).optional(),
      name: z.string().min(1).max(256),
      occurrence: z.int().nonnegative().optional(),
    })
    .optional(),
});
type From = NonNullable<z.output<typeof placeBody>["from"]>;

async function readPlace(c: Context<HttpEnv>): Promise<Change> {
  return { runId: readRunId(c), ...(await readOptionalBody(c, placeBody)) };
}

function readId(c: Context): Change {
  return { runId: readRunId(c) };
}
