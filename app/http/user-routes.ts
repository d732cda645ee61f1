import { Hono, type MiddlewareHandler } from "hono";
import { bodyLimit } from "hono/body-limit";
import { maxBodyBytes } from "./body.ts";
import type { Place } from "./place.ts";
import { HttpProblem } from "./problems.ts";
import type { HttpEnv } from "./request-context.ts";
import type { AppEnv } from "./user-env.ts";

/** An answer may have so many bytes, and may take so long to end once its head is there. */
const maxAnswerBytes = 16 * 1024 * 1024;
const answerWithinMs = 30_000;

/** The user's own routes, on the open tenant of the token and behind the gate like any other. */
export function userRoutes(
  place: Place,
  authenticated: MiddlewareHandler<HttpEnv>,
  routes: Hono<AppEnv>,
): Hono<HttpEnv> {
  const app = new Hono<HttpEnv>();
  app.use(authenticated, refuseNul, bodyLimit({ maxSize: maxBodyBytes, onError: refuseLarge }));
  app.use(place(), wholeAnswer);
  app.route("/", routes);
  return app;
}

/** No column of SQLite's gives it back as it was, so a route would come to it only once its tenant is open. */
const refuseNul: MiddlewareHandler<HttpEnv> = async (c, next) => {
  if (c.req.raw.url.includes("%00"))
    throw new HttpProblem("bad_request", "The path or the query holds a NUL character (`%00`).");
  await next();
};

function refuseLarge(): never {
  throw new HttpProblem("too_large", `A body may have ${maxBodyBytes} bytes at most.`);
}

/** The gate covers what was read before it, so an answer is complete before it gets there: none is streamed. */
const wholeAnswer: MiddlewareHandler<HttpEnv> = async (c, next) => {
  await next();
  const { res } = c;
  if (res.body === null) return;
  const bytes = await readWhole(res.body, `${c.req.method} ${c.req.path.slice(0, 200)}`);
  // Hono would merge the headers of the answer that stands there into the new one.
  c.res = undefined;
  c.res = new Response(bytes, res);
};

async function readWhole(body: ReadableStream<Uint8Array>, what: string): Promise<Buffer<ArrayBuffer>> {
  const reader = body.getReader();
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => {
    late.reject(new Error(`The answer to ${what} did not end within ${answerWithinMs} ms`));
  }, answerWithinMs);
  const chunks: Uint8Array[] = [];
  let size = 0;
  try {
    for (;;) {
      const { done, value } = await Promise.race([reader.read(), late.promise]);
      if (done) return Buffer.concat(chunks, size);
      size += value.length;
      if (size > maxAnswerBytes)
        throw new Error(`The answer to ${what} has more than ${maxAnswerBytes} bytes`);
      chunks.push(value);
    }
  } catch (error) {
    void reader.cancel(error).catch(() => {});
    throw error;
  } finally {
    clearTimeout(timer);
  }
}
