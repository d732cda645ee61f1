import { Hono, type Context } from "hono";
import { z } from "zod";
import { parseDuration } from "../engine/duration.ts";
import { EngineStoppedError } from "../engine/errors.ts";
import { hasEnded, type ListedRun } from "../engine/journal.ts";
import type { Runs } from "../engine/runs.ts";
import { allow } from "./authenticate.ts";
import { readBody } from "./body.ts";
import { answersFor, gate } from "./gate.ts";
import type { Place } from "./place.ts";
import { HttpProblem } from "./problems.ts";
import { readIdempotencyKey, reads } from "./reads.ts";
import type { HttpEnv } from "./request-context.ts";
import { runJson } from "./run-json.ts";

/** `POST /v1/agents/{agent}/runs`: starts a run, and waits for its end if asked to. */
export function startRoutes(place: Place): Hono<HttpEnv> {
  return new Hono<HttpEnv>().post(
    "/agents/:agent/runs",
    allow("runs:write"),
    reads(readStart),
    place("with-key"),
    async (c) => {
      const { waitMs, ...request } = c.req.valid("json");
      const { tenant } = c.var;
      if (request.durability !== undefined) answersFor(c, { durability: request.durability });
      const { run, created } = await tenant.runs.start(request);
      answersFor(c, run);
      const headers = { location: `/v1/runs/${encodeURIComponent(run.id)}` };
      if (waitMs === undefined) return c.json(runJson(run), created ? 202 : 200, headers);

      // The run is acknowledged first: a client that gives up waiting must find it again.
      await gate(c, tenant);
      const now = await endedOrGone(tenant.runs, run, { waitMs, gone: c.req.raw.signal });
      return c.json(runJson(now), hasEnded(now.status) ? 200 : 202, headers);
    },
  );
}

/** Longer waits end here; the client asks again. */
const maxWaitMs = 60_000;

const startBody = z.strictObject({
  input: z.unknown().optional(),
  delay: z.union([z.string(), z.number()]).transform(toDurationMs).optional(),
  durability: z.enum(["replicated", "local"]).optional(),
});

async function readStart(c: Context<HttpEnv>) {
  const agent = c.req.param("agent") ?? "";
  const waitMs = readWait(c);
  const idempotencyKey = readIdempotencyKey(c);
  const { input, delay: delayMs, durability } = await readBody(c, startBody);
  return { agent, input, idempotencyKey, durability, delayMs, waitMs };
}

function readWait(c: Context): number | undefined {
  const wait = c.req.query("wait");
  if (wait === undefined) return undefined;
  try {
    return Math.min(parseDuration(wait, "`wait`"), maxWaitMs);
  } catch (error) {
    throw new HttpProblem("bad_request", `${(error as Error).message}.`);
  }
}

function toDurationMs(delay: string | number, context: z.RefinementCtx): number {
  try {
    return parseDuration(delay, "delay");
  } catch (error) {
    context.addIssue((error as Error).message);
    return z.NEVER;
  }
}

/**
 * The run when it has ended, or after the wait. As it was, once the client is gone, so that it holds the tenant no longer,
 * and when this host lets the tenant go: to be told to repeat a start that was made would make a second run.
 */
async function endedOrGone(
  runs: Runs,
  run: ListedRun,
  { waitMs, gone }: { readonly waitMs: number; readonly gone: AbortSignal },
): Promise<ListedRun> {
  if (gone.aborted) return run;
  const left = Promise.withResolvers<ListedRun>();
  const leave = (): void => left.resolve(run);
  gone.addEventListener("abort", leave, { once: true });
  try {
    return await Promise.race([runs.ended(run.id, waitMs), left.promise]);
  } catch (error) {
    if (error instanceof EngineStoppedError) return run;
    throw error;
  } finally {
    gone.removeEventListener("abort", leave);
  }
}
