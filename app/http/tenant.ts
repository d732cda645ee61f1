import { Hono } from "hono";
import type { Host, TenantStatus } from "../host/host.ts";
import { unavailableStatus } from "../host/unavailable-status.ts";
import { allow } from "./authenticate.ts";
import { tenantOf } from "./place.ts";
import type { HttpEnv } from "./request-context.ts";
import { isNotBegun, UnreachableError, type NotBegun, type Router } from "./route.ts";
import { isoTimeOrNull } from "./run-json.ts";

/** `GET /v1/tenant`: neither placed nor gated, so that it can say what is wrong while nothing else answers. */
export function tenantRoutes(host: Host, router: Router): Hono<HttpEnv> {
  return new Hono<HttpEnv>().get("/tenant", allow("runs:read"), async (c) => {
    const tenantId = tenantOf(c);
    const told = await router
      .route({ c, tenantId, repeats: "always" }, (arrived) =>
        host.status(tenantId, arrived).catch(thatItIsElsewhere),
      )
      .catch((error: unknown) => unreachableStatus(tenantId, error));
    return told instanceof Response ? told : c.json(statusJson(told));
  });
}

function thatItIsElsewhere(error: unknown): NotBegun {
  if (isNotBegun(error)) return error;
  throw error;
}

function unreachableStatus(tenantId: string, error: unknown): TenantStatus {
  if (!(error instanceof UnreachableError)) throw error;
  const { holder, region } = error.elsewhere;
  return { ...unavailableStatus(tenantId, error.message), host: holder?.hostId ?? null, region };
}

function statusJson({ replication, restorePoint, ...status }: TenantStatus) {
  return {
    ...status,
    restorePoint:
      restorePoint === null ? null : { ...restorePoint, at: new Date(restorePoint.at).toISOString() },
    replication: {
      ...replication,
      oldestUndurableAt: isoTimeOrNull(replication.oldestUndurableAt),
      lastDurableAt: isoTimeOrNull(replication.lastDurableAt),
    },
  };
}
