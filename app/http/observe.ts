import { randomUUID } from "node:crypto";
import type { Context, MiddlewareHandler } from "hono";
import { routePath } from "hono/route";
import type { Logger } from "pino";
import type { RequestMetrics } from "./metrics.ts";
import { hostHeader, viaHeader } from "./arrival.ts";
import type { HttpEnv } from "./request-context.ts";

export interface ObserveParts {
  readonly hostId: string;
  readonly metrics: RequestMetrics;
  readonly log: Logger;
}

/** Gives every request an id, and counts, times and logs its answer. The query is never logged: it may hold a token. */
export function observe({ hostId, metrics, log }: ObserveParts): MiddlewareHandler<HttpEnv> {
  return async (c, next) => {
    const startedAt = performance.now();
    const requestId = readRequestId(c);
    c.set("requestId", requestId);
    await next();
    const { method, path } = c.req;
    const { status, headers } = c.res;
    headers.set("x-request-id", requestId);
    // Whose word it is, errors included, and who passes it on: a host believes no answer to what it has sent on otherwise.
    if (!headers.has(hostHeader)) headers.set(hostHeader, hostId);
    else if (headers.get(hostHeader) !== hostId) headers.set(viaHeader, hostId);
    headers.set("x-content-type-options", "nosniff");
    headers.set("cache-control", "no-store");

    const seconds = (performance.now() - startedAt) / 1000;
    const request = { method: knownMethods.has(method) ? method : "other", route: routeOf(c) };
    metrics.answered(request, status, seconds);
    log.debug({ requestId, method, path, status, ms: Math.round(seconds * 1000) }, "answered");
  };
}

/** Labels of metrics are kept for ever, so that no client may invent one. */
const knownMethods = new Set(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]);

function routeOf(c: Context): string {
  const route = routePath(c, -1);
  return route.endsWith("*") ? "unmatched" : route;
}

/** A caller's own id is kept if it is harmless in a log and in a header. */
function readRequestId(c: Context): string {
  const given = c.req.header("x-request-id");
  return given !== undefined && /^[\w.-]{1,128}$/.test(given) ? given : randomUUID();
}
