import type { Context, MiddlewareHandler } from "hono";
import { z } from "zod";
import { HttpProblem } from "./problems.ts";
import type { HttpEnv } from "./request-context.ts";

/**
 * Reads what a route asks for, before a tenant is opened for it: a bad request costs nothing and touches nothing. The route
 * finds it by `c.req.valid("json")`.
 */
export function reads<Value extends object>(
  read: (c: Context<HttpEnv>) => Value | Promise<Value>,
): MiddlewareHandler<HttpEnv, string, { in: { json: Value }; out: { json: Value } }> {
  return async (c, next) => {
    c.req.addValidatedData("json", await read(c));
    await next();
  };
}

/** The query as `schema` takes it; names that it does not know are left alone. Throws HttpProblem `bad_request`. */
export function readQuery<Schema extends z.ZodType>(c: Context, schema: Schema): z.output<Schema> {
  const result = schema.safeParse(c.req.query());
  if (result.success) return result.data;
  const wrong = result.error.issues.map((issue) => `\`${issue.path.join(".")}\`: ${issue.message}`);
  throw new HttpProblem("bad_request", `The query is invalid: ${wrong.join("; ")}.`);
}

/** A whole number in a query. */
export function wholeNumber(bounds: { readonly min: number; readonly max: number }): z.ZodType<number> {
  const message = `must be a whole number from ${bounds.min} to ${bounds.max}`;
  return z
    .string()
    .regex(/^\d{1,15}$/, message)
    .transform(Number)
    .refine((value) => value >= bounds.min && value <= bounds.max, message);
}

/** `undefined` without the header. Throws HttpProblem `bad_request`. */
export function readIdempotencyKey(c: Context): string | undefined {
  const key = c.req.header("idempotency-key");
  if (key !== undefined && !/^[\x21-\x7e]{1,255}$/.test(key))
    throw new HttpProblem("bad_request", "`Idempotency-Key` must be 1 to 255 visible ASCII characters.");
  return key;
}
