import { Hono, type Context } from "hono";
import { z } from "zod";
import { allow } from "./authenticate.ts";
import { readBody } from "./body.ts";
import { answersFor } from "./gate.ts";
import type { Place } from "./place.ts";
import { HttpProblem } from "./problems.ts";
import { readIdempotencyKey, reads } from "./reads.ts";
import type { HttpEnv } from "./request-context.ts";
import { readRunId } from "./runs.ts";

/** `POST /v1/runs/{id}/signals/{name}`. */
export function signalRoutes(place: Place): Hono<HttpEnv> {
  return new Hono<HttpEnv>().post(
    "/runs/:id/signals/:name",
    allow("runs:write"),
    reads(readSignal),
    place("with-key"),
    async (c) => {
      const { runId, ...signal } = c.req.valid("json");
      const { runs } = c.var.tenant;
      answersFor(c, await runs.get(runId));
      const { id, created } = await runs.signal(runId, signal);
      return c.json({ id }, created ? 202 : 200);
    },
  );
}

const signalBody = z.strictObject({ payload: z.unknown().optional() });

async function readSignal(c: Context<HttpEnv>) {
  const runId = readRunId(c);
  const name = c.req.param("name") ?? "";
  if (!/^[^\p{C}]{1,128}$/u.test(name))
    throw new HttpProblem(
      "bad_request",
      "A signal's name is 1 to 128 characters without control characters.",
    );
  const idempotencyKey = readIdempotencyKey(c);
  const { payload } = await readBody(c, signalBody);
  return { runId, name, payload, idempotencyKey };
}
