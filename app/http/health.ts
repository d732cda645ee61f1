import { Hono } from "hono";
import type { Host } from "../host/host.ts";
import type { RequestMetrics } from "./metrics.ts";
import type { HttpEnv } from "./request-context.ts";

/** What platforms and monitors ask: no token, and nothing of a tenant in the answers. */
export function healthRoutes(host: Host, metrics: RequestMetrics): Hono<HttpEnv> {
  return new Hono<HttpEnv>()
    .get("/healthz", (c) => c.json({ status: "ok", host: host.id }))
    .get("/readyz", (c) => {
      const readiness = host.readiness();
      return c.json(readiness, readiness.ready ? 200 : 503);
    })
    .get("/metrics", async (c) => {
      const { text, contentType } = await metrics.scrape();
      return c.text(text, 200, { "content-type": contentType });
    });
}
