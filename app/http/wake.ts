import { Hono } from "hono";
import type { Host } from "../host/host.ts";
import { HttpProblem } from "./problems.ts";
import type { HttpEnv } from "./request-context.ts";

/** `POST /v1/wake`: an operator's, of no tenant. That it starts a Machine where none runs is half of its purpose. */
export function wakeRoutes(host: Host): Hono<HttpEnv> {
  return new Hono<HttpEnv>().post("/wake", async (c) => {
    if (!c.var.claims.scopes.has("operator"))
      throw new HttpProblem("forbidden", "Only an operator's token may look at the wakes of all tenants.");
    const { due, served } = await host.wakeDue();
    return c.json({ due, served });
  });
}
