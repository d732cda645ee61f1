import { and, desc, eq, ne } from "drizzle-orm";
import { Hono } from "hono";
import { HTTPException } from "hono/http-exception";
import type { AppEnv } from "holdfast";
import { refunds } from "../db/schema.ts";

const maxListed = 100;

/**
 * Your own routes, at `/app`. Each request carries a token and runs on the open file of its tenant; its answer is held back
 * until all that it shows, and all that it wrote, is durable.
 */
export const routes: Hono<AppEnv> = new Hono<AppEnv>()
  .get("/refunds", async (c) => {
    const items = await c.var.tenant.db
      .select()
      .from(refunds)
      .orderBy(desc(refunds.openedAt), desc(refunds.orderId))
      .limit(maxListed);
    return c.json({ items });
  })
  .get("/refunds/:orderId", async (c) => {
    const orderId = c.req.param("orderId");
    const [refund] = await c.var.tenant.db
      .select()
      .from(refunds)
      .where(eq(refunds.orderId, orderId))
      .limit(1);
    if (refund === undefined)
      throw new HTTPException(404, { message: `There is no refund of order "${orderId.slice(0, 100)}".` });
    return c.json(refund);
  })
  .delete("/refunds/:orderId", async (c) => {
    const { claims, tenant } = c.var;
    if (!claims.scopes.has("runs:write") && !claims.scopes.has("operator"))
      throw new HTTPException(403, { message: "The token lacks the scope `runs:write`." });
    const over = and(eq(refunds.orderId, c.req.param("orderId")), ne(refunds.status, "open"));
    const [removed] = await tenant.db.delete(refunds).where(over).returning();
    if (removed === undefined)
      throw new HTTPException(409, { message: "Only a refund that is over can be removed." });
    return c.body(null, 204);
  });
