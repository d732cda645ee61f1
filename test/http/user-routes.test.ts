import { DrizzleQueryError } from "drizzle-orm/errors";
import { Hono } from "hono";
import { HTTPException } from "hono/http-exception";
import { expect, test } from "vitest";
import type { AppEnv } from "../../app/http/user-env.ts";
import { routes } from "../../app/routes.ts";
import { NotDurableError } from "../../app/storage/errors.ts";
import { DatabaseBusyError, DatabaseFullError } from "../../db/errors.ts";
import { migrate } from "../../db/migrate.ts";
import { refunds } from "../../db/schema.ts";
import { temporaryConnection } from "../db/temporary-database.ts";
import { bearer, createClient, type Client } from "./client.ts";

const row = { orderId: "o-1", amountCents: 500, status: "open", runId: "r", openedAt: 1 } as const;

/** A client of these routes on a tenant with one row of its own. */
async function clientOf(app: Hono<AppEnv>): Promise<Client> {
  const connection = temporaryConnection();
  await migrate(connection);
  await connection.db.insert(refunds).values(row);
  const client = await createClient(app);
  client.host.db = connection.db;
  return client;
}

test("the user's routes read the tenant's own tables", async () => {
  const client = await clientOf(routes);
  const all = await client.send("/app/refunds");
  expect(await all.json()).toMatchObject({ items: [row] });
  expect(await (await client.send("/app/refunds/o-1")).json()).toMatchObject(row);
  const missing = await client.send("/app/refunds/o-2");
  expect([missing.status, await missing.text()]).toEqual([404, 'There is no refund of order "o-2".']);
});

test("the user's routes have the tenant's runs and the token's claims", async () => {
  const app = new Hono<AppEnv>().post("/go", async (c) => {
    const { tenant, claims } = c.var;
    const { run } = await tenant.runs.start({ agent: "echo", input: await c.req.json() });
    return c.json({ run: run.id, tenant: tenant.id, by: claims.sub }, 201);
  });
  const answer = await (await clientOf(app)).send("/app/go", { body: { a: 1 } });
  expect([answer.status, await answer.json()]).toEqual([
    201,
    { run: "run-000001", tenant: "acme", by: "test" },
  ]);
});

test.each([
  ["a path", "/app/refunds/%00"],
  ["a query", "/app/refunds?order=a%00b"],
])(
  "%s with a NUL, which no column can hold, is refused before a tenant is opened for it",
  async (_what, path) => {
    const client = await clientOf(routes);
    for (const method of ["GET", "DELETE"]) {
      const answer = await client.send(path, { method });
      expect([answer.status, await answer.json()]).toEqual([
        400,
        expect.objectContaining({ code: "bad_request", detail: expect.stringContaining("NUL") }),
      ]);
    }
    expect(client.host.arrivals).toEqual([]);
  },
);

test("an escape that is no UTF-8 is a name like any other", async () => {
  const client = await clientOf(routes);
  for (const escape of ["%", "%ff", "%c3%28", "%zz"])
    expect((await client.send(`/app/refunds/${escape}`)).status, escape).toBe(404);
});

test("a body whose text has a NUL, which no column can hold, is the client's mistake", async () => {
  const app = new Hono<AppEnv>().post("/refunds", async (c) => {
    const { orderId } = (await c.req.json()) as { orderId: string };
    await c.var.tenant.db.insert(refunds).values({ ...row, orderId });
    return c.body(null, 201);
  });
  const client = await clientOf(app);
  const answer = await client.send("/app/refunds", { body: { orderId: "a\0b" } });
  expect([answer.status, await answer.json()]).toEqual([
    422,
    expect.objectContaining({ code: "invalid_input", detail: expect.stringContaining("NUL") }),
  ]);
  expect(client.logged.join("")).not.toContain("a request failed");
});

test("without a token, or an operator's tenant, no route of the user's is reached", async () => {
  let reached = false;
  const client = await clientOf(new Hono<AppEnv>().get("/x", (c) => ((reached = true), c.text("x"))));
  expect((await client.send("/app/x", { headers: { authorization: "" } })).status).toBe(401);
  expect((await client.send("/app/x", { headers: await bearer({ scope: "operator" }) })).status).toBe(400);
  expect(reached).toBe(false);
});

test("an answer is withheld until it is durable, and nothing of it leaves if it cannot be", async () => {
  const app = new Hono<AppEnv>().get("/x", (c) => c.text("secret", 200, { "x-secret": "too" }));
  const client = await clientOf(app);
  client.host.durable = () => Promise.reject(new NotDurableError("the store does not answer"));
  const answer = await client.send("/app/x");
  expect([answer.status, answer.headers.get("x-secret")]).toEqual([503, null]);
  expect(await answer.text()).not.toContain("secret");
});

test("a streamed answer is whole before the gate is asked", async () => {
  const order: string[] = [];
  const app = new Hono<AppEnv>().get("/x", () => {
    const body = new ReadableStream({
      async pull(controller) {
        await new Promise((resolve) => setTimeout(resolve, 30));
        order.push("read");
        controller.enqueue(new TextEncoder().encode("late"));
        controller.close();
      },
    });
    return new Response(body, { headers: { "content-type": "text/x" } });
  });
  const client = await clientOf(app);
  client.host.durable = async () => void order.push("gate");
  const answer = await client.send("/app/x");
  expect([await answer.text(), answer.headers.get("content-type"), order]).toEqual([
    "late",
    "text/x",
    ["read", "gate"],
  ]);
});

const full = new DatabaseFullError("/data/acme/tenant.db");

test.each([
  ["a full disk", full],
  ["a lock that is kept", new DatabaseBusyError("/data/acme/tenant.db", "a write wanted to begin", 10_000)],
  ["either behind Drizzle", new DrizzleQueryError("SELECT 1", ["a parameter"], full)],
])("%s is 503, to be repeated", async (_what, error) => {
  const client = await clientOf(
    new Hono<AppEnv>().get("/x", () => {
      throw error;
    }),
  );
  const answer = await client.send("/app/x");
  expect([answer.status, answer.headers.get("retry-after")]).toEqual([503, "5"]);
  const problem = (await answer.json()) as { code: string; detail: string };
  expect(problem.code).toBe("tenant_unavailable");
  expect(problem.detail).not.toMatch(/Failed query|a parameter/);
});

test("the tenant's db inside of its own transaction is 500, and the log says what to use instead", async () => {
  const app = new Hono<AppEnv>().post("/x", async (c) => {
    const { db } = c.var.tenant;
    await db.transaction(async (tx) => {
      await tx.insert(refunds).values({ ...row, orderId: "o-2" });
      await db.insert(refunds).values({ ...row, orderId: "o-3" });
    });
    return c.text("never");
  });
  const client = await clientOf(app);
  expect((await client.send("/app/x", { method: "POST" })).status).toBe(500);
  expect(client.logged.join("\n")).toMatch(
    /a request failed: [^"]*inside one of its own transactions. Use the transaction's handle/,
  );
  expect(client.logged.join("\n")).not.toContain("o-3");
  expect(await client.host.db.select().from(refunds)).toHaveLength(1);
});

test("a route's HTTPException keeps its response, and an error handler of the user's own is asked first", async () => {
  const app = new Hono<AppEnv>().get("/teapot", () => {
    throw new HTTPException(418, { res: new Response("short and stout", { headers: { "x-spout": "yes" } }) });
  });
  const answer = await (await clientOf(app)).send("/app/teapot");
  expect([answer.status, answer.headers.get("x-spout"), await answer.text()]).toEqual([
    418,
    "yes",
    "short and stout",
  ]);

  app.onError((error, c) => c.text(`mine: ${error.message}`, 400));
  const own = await (
    await clientOf(
      new Hono<AppEnv>().route(
        "/",
        app.get("/own", () => {
          throw new Error("oops");
        }),
      ),
    )
  ).send("/app/own");
  expect([own.status, await own.text()]).toEqual([400, "mine: oops"]);
});

test("any other error of a route is 500, and nothing of it leaves the process", async () => {
  const app = new Hono<AppEnv>().get("/x", () => {
    throw new Error("the password is 123");
  });
  const answer = await (await clientOf(app)).send("/app/x");
  expect([answer.status, await answer.text()]).toEqual([500, expect.not.stringContaining("password")]);
});

test("a body beyond the bound is 413, whatever the route reads of it", async () => {
  const client = await clientOf(new Hono<AppEnv>().post("/x", async (c) => c.json(await c.req.json())));
  const answer = await client.send("/app/x", { body: { text: "x".repeat(1024 * 1024) } });
  expect(answer.status).toBe(413);
});

test("a path that the user has no route for is 404 like any other", async () => {
  const answer = await (await clientOf(routes)).send("/app/nothing");
  expect([answer.status, await answer.json()]).toEqual([404, expect.objectContaining({ code: "not_found" })]);
});
