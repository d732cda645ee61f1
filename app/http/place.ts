import type { Context, MiddlewareHandler } from "hono";
import type { Host } from "../host/host.ts";
import { hostHeader } from "./arrival.ts";
import { gate } from "./gate.ts";
import { HttpProblem } from "./problems.ts";
import type { HttpEnv } from "./request-context.ts";
import { isNotBegun, type Repeats, type Router } from "./route.ts";

/** Puts a request on its tenant; `repeats` says when it may be sent to another host twice, by default only if it reads. */
export type Place = (repeats?: Repeats) => MiddlewareHandler<HttpEnv>;

/**
 * Runs the rest of the request on the tenant's open file, and sends its answer through the gate. Both are one middleware,
 * so that no route can have a tenant without a gate. A tenant that is elsewhere answers from there, behind the gate of its
 * own host.
 */
export function createPlace(host: Host, router: Router): Place {
  return (repeats = "never") =>
    async (c, next) => {
      const tenantId = tenantOf(c);
      return await router.route({ c, tenantId, repeats }, async (arrived) => {
        let begun = false;
        try {
          await host.use(
            tenantId,
            async (tenant) => {
              begun = true;
              c.set("tenant", tenant);
              await next();
              await gate(c, tenant);
              // Whose word it is: within a tenant the epochs of answers never go back.
              c.res.headers.set(hostHeader, host.id);
              c.res.headers.set("holdfast-epoch", String(tenant.epoch));
            },
            arrived,
          );
          return undefined;
        } catch (error) {
          if (!begun && isNotBegun(error)) return error;
          throw error;
        }
      });
    };
}

/** The tenant that the token is for, or that an operator names. Throws HttpProblem. */
export function tenantOf(c: Context<HttpEnv>): string {
  const { claims } = c.var;
  const named = c.req.header("holdfast-tenant");
  if (claims.tenant === null && !claims.scopes.has("operator"))
    throw new HttpProblem("forbidden", "The token is for no tenant, and only an operator's may go without.");
  if (claims.tenant !== null && named !== undefined && named !== claims.tenant)
    throw new HttpProblem("forbidden", "The token is for another tenant than `Holdfast-Tenant` names.");
  const tenant = claims.tenant ?? named;
  if (tenant === undefined)
    throw new HttpProblem("bad_request", "An operator names the tenant in the header `Holdfast-Tenant`.");
  if (!/^[a-z0-9][a-z0-9-]{0,62}$/.test(tenant))
    throw new HttpProblem(
      "bad_request",
      "A tenant's name is 1 to 63 of a-z 0-9 -, and starts with a letter or a digit.",
    );
  return tenant;
}
