import { Hono } from "hono";
import type { Host } from "../host/host.ts";
import { allow } from "./authenticate.ts";
import { tenantOf } from "./place.ts";
import type { HttpEnv } from "./request-context.ts";
import { isoTimeOrNull } from "./run-json.ts";

/** `GET /v1/tenant`: neither placed nor gated, so that it can say what is wrong while nothing else answers. */
export function tenantRoutes(host: Host): Hono<HttpEnv> {
  return new Hono<HttpEnv>().get("/tenant", allow("runs:read"), async (c) => {
    const { replication, ...status } = await host.status(tenantOf(c));
    return c.json({
      ...status,
      replication: {
        ...replication,
        oldestUndurableAt: isoTimeOrNull(replication.oldestUndurableAt),
        lastDurableAt: isoTimeOrNull(replication.lastDurableAt),
      },
    });
  });
}
