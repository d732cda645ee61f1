import { Hono, type MiddlewareHandler } from "hono";
import { HTTPException } from "hono/http-exception";
import type { Logger } from "pino";
import type { Host } from "../host/host.ts";
import { pageRoutes } from "../ui/page.ts";
import type { Routing } from "./arrival.ts";
import { authenticate } from "./authenticate.ts";
import { controlRoutes } from "./control.ts";
import { Forwarder } from "./forward.ts";
import { healthRoutes } from "./health.ts";
import { LostHolders } from "./lost-holders.ts";
import { Markers } from "./marker.ts";
import type { RequestMetrics } from "./metrics.ts";
import { observe } from "./observe.ts";
import { createPlace } from "./place.ts";
import { HttpProblem, problemOf, problemResponse } from "./problems.ts";
import type { HttpEnv } from "./request-context.ts";
import { Router, type SearchBounds } from "./route.ts";
import { runRoutes } from "./runs.ts";
import { signalRoutes } from "./signals.ts";
import { startRoutes } from "./start.ts";
import { tenantRoutes } from "./tenant.ts";
import type { AppEnv } from "./user-env.ts";
import { userRoutes } from "./user-routes.ts";
import { wakeRoutes } from "./wake.ts";

export interface AppParts {
  readonly host: Host;
  /** How requests for tenants of other hosts get there. */
  readonly routing: Routing;
  /** Any of them may have signed a token. */
  readonly tokenSecrets: readonly string[];
  readonly metrics: RequestMetrics;
  readonly log: Logger;
  /** The user's own, at `/app`. */
  readonly routes?: Hono<AppEnv>;
  /** Sends requests on; by default one that is never stopped. */
  readonly forwarder?: Forwarder;
  /** How long a tenant that moves is looked for; some seconds by default. */
  readonly search?: SearchBounds;
}

/** Everything that is reachable from outside. A request is authenticated, read, placed, answered and gated, in this order. */
export function createApp(parts: AppParts): Hono<HttpEnv> {
  const { host, routing, tokenSecrets, metrics, log, routes, search } = parts;
  const forwarder = parts.forwarder ?? new Forwarder(new LostHolders(host));
  const markers = new Markers(tokenSecrets);
  const router = new Router({ host, routing, markers, forwarder, metrics, bounds: search });
  const place = createPlace(host, router);
  // One for all routes: it remembers the tokens that it has found good.
  const authenticated = authenticate(tokenSecrets);
  const app = new Hono<HttpEnv>();
  app.onError((error, c) => {
    // Thrown by a route of the user's, or by one of Hono's own parts in it: it brings its answer along.
    if (error instanceof HTTPException) return error.getResponse();
    const { code, origin } = problemOf(error);
    // Its origin only: what Drizzle says of a query shows the values in it.
    if (code === "internal")
      log.error({ err: origin, requestId: c.var.requestId }, `a request failed: ${origin.message}`);
    return problemResponse(error, c.var.requestId);
  });
  app.notFound((c) => {
    const problem = new HttpProblem("not_found", `There is no ${c.req.method} ${c.req.path.slice(0, 200)}.`);
    return problemResponse(problem, c.var.requestId);
  });

  app.use(observe({ hostId: host.id, metrics, log }));
  app.use(errorsOnly);
  app.route("/", pageRoutes());
  app.route("/", healthRoutes(host, metrics));
  app.use(refuseCrowded);
  app.use("/v1/*", authenticated);
  app.route("/v1", startRoutes(place));
  app.route("/v1", runRoutes(place));
  app.route("/v1", signalRoutes(place));
  app.route("/v1", controlRoutes(place));
  app.route("/v1", tenantRoutes(host, router));
  app.route("/v1", wakeRoutes(host));
  if (routes !== undefined) app.route("/app", userRoutes(place, authenticated, routes));
  return app;
}

/** After the routes of the host's own health: a host with much to do is not a dead one. */
const refuseCrowded: MiddlewareHandler<HttpEnv> = async (c, next) => {
  if (c.env?.isCrowded === true)
    throw new HttpProblem(
      "overloaded",
      "More connections are open to this host than it takes. Nothing was done; repeat the request, on a connection that is kept if there are many.",
      { headers: { connection: "close" } },
    );
  await next();
};

/** Hono hands only errors to `onError`; a thrown string would end the request without an answer. */
const errorsOnly: MiddlewareHandler = async (_c, next) => {
  try {
    await next();
  } catch (thrown) {
    throw thrown instanceof Error ? thrown : new Error("What was thrown is no error", { cause: thrown });
  }
};
