import type { Context, MiddlewareHandler } from "hono";
import { HttpProblem } from "./problems.ts";
import type { HttpEnv } from "./request-context.ts";
import { rememberingVerifier, TokenError, type Scope } from "./token.ts";

/** Lets no request pass that carries no valid token. */
export function authenticate(secrets: readonly string[]): MiddlewareHandler<HttpEnv> {
  const verify = rememberingVerifier(secrets);
  return async (c, next) => {
    const token = readToken(c);
    if (token === undefined)
      throw unauthenticated(
        "Send a token in the header `Authorization: Bearer …`",
        'Bearer realm="holdfast"',
      );
    try {
      c.set("claims", await verify(token));
    } catch (error) {
      if (!(error instanceof TokenError)) throw error;
      throw unauthenticated(error.message, 'Bearer realm="holdfast", error="invalid_token"');
    }
    await next();
  };
}

/** Lets pass whose token has the scope; an operator's has them all. */
export function allow(scope: Scope): MiddlewareHandler<HttpEnv> {
  return async (c, next) => {
    const { scopes } = c.var.claims;
    if (!scopes.has(scope) && !scopes.has("operator"))
      throw new HttpProblem("forbidden", `The token lacks the scope \`${scope}\`.`);
    await next();
  };
}

/** In the query only where a browser cannot send headers, so never for a request that changes something. */
function readToken(c: Context): string | undefined {
  const header = c.req.header("authorization");
  if (header === undefined) return c.req.method === "GET" ? c.req.query("token") : undefined;
  return /^bearer +(?<token>\S+) *$/i.exec(header)?.groups?.token;
}

function unauthenticated(detail: string, challenge: string): HttpProblem {
  return new HttpProblem("unauthenticated", `${detail}.`, { headers: { "www-authenticate": challenge } });
}
