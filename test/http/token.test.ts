import { sign } from "hono/jwt";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { rememberingVerifier, signToken, TokenError, verifyToken } from "../../app/http/token.ts";
import { bearer, createClient, oldSecret, secret, type Client } from "./client.ts";

let client: Client;
beforeEach(async () => {
  client = await createClient();
});

afterEach(() => {
  vi.useRealTimers();
});

const inAMinute = Math.floor(Date.now() / 1000) + 600;
const claims = { tenant: "acme", sub: "test", scope: "runs:read", exp: inAMinute };
const encode = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString("base64url");

test("a token says what it was signed for", async () => {
  const token = await signToken(
    { tenant: "acme", sub: "ada", scope: "runs:read  runs:write", expiresIn: "15m" },
    secret,
  );
  expect(await verifyToken(token, [secret])).toEqual({
    tenant: "acme",
    sub: "ada",
    scopes: new Set(["runs:read", "runs:write"]),
  });
});

test("a token of the secret before is good while both are set", async () => {
  const token = await signToken({ sub: "ci", scope: "operator", expiresIn: 60_000 }, oldSecret);
  expect(await verifyToken(token, [secret, oldSecret])).toMatchObject({ tenant: null });
  await expect(verifyToken(token, [secret])).rejects.toThrow(TokenError);
});

test("a token that was good a moment ago is refused from the second on at which it expires", async () => {
  vi.useFakeTimers({ toFake: ["Date"], now: 1_700_000_000_000 });
  const verify = rememberingVerifier([secret]);
  const token = await signToken({ tenant: "acme", sub: "ada", scope: "runs:read", expiresIn: "15m" }, secret);
  expect(await verify(token)).toMatchObject({ tenant: "acme" });
  vi.setSystemTime(1_700_000_899_999);
  expect(await verify(token)).toMatchObject({ tenant: "acme" });
  vi.setSystemTime(1_700_000_900_000);
  await expect(verify(token)).rejects.toThrow(new TokenError("The token has expired"));
  await expect(verify(token)).rejects.toThrow(new TokenError("The token has expired"));
});

test("a token is not taken for another one that was good before, nor a refused one for good when it comes again", async () => {
  const verify = rememberingVerifier([secret]);
  const sub = "ada";
  const mine = await signToken({ tenant: "acme", sub, scope: "runs:read", expiresIn: "15m" }, secret);
  const foreign = await signToken({ tenant: "acme", sub, scope: "operator", expiresIn: "15m" }, oldSecret);
  for (let i = 0; i < 2; i += 1) {
    expect(await verify(mine)).toMatchObject({ tenant: "acme", scopes: new Set(["runs:read"]) });
    await expect(verify(foreign)).rejects.toThrow(TokenError);
    await expect(verify(`${mine.slice(0, mine.lastIndexOf("."))}.${signature}`)).rejects.toThrow(TokenError);
  }
});

test("more tokens than are remembered are all good, each for what it says", async () => {
  const verify = rememberingVerifier([secret]);
  const tokens = await Promise.all(
    Array.from({ length: 1_100 }, (_, i) =>
      signToken({ tenant: `t-${i}`, sub: "ada", scope: "runs:read", expiresIn: "15m" }, secret),
    ),
  );
  for (let i = 0; i < 2; i += 1)
    for (const [of, token] of tokens.entries())
      expect(await verify(token)).toMatchObject({ tenant: `t-${of}` });
});

test.each(["", "soon", "-1m", 0, Number.NaN])("a token that lives %j is not signed", async (expiresIn) => {
  await expect(signToken({ sub: "a", scope: "operator", expiresIn }, secret)).rejects.toThrow(RangeError);
});

const good = await sign(claims, secret, "HS256");
const [header = "", payload = "", signature = ""] = good.split(".");

test.each<[string, string]>([
  ["has expired", await sign({ ...claims, exp: 1_000_000 }, secret, "HS256")],
  ["never expires", await sign({ tenant: "acme", sub: "test", scope: "runs:read" }, secret, "HS256")],
  [
    "expires as text",
    await sign({ ...claims, exp: String(inAMinute) as unknown as number }, secret, "HS256"),
  ],
  ["is not valid yet", await sign({ ...claims, nbf: inAMinute }, secret, "HS256")],
  ["was signed by someone else", await sign(claims, "x".repeat(40), "HS256")],
  ["was signed by another algorithm", await sign(claims, secret, "HS512")],
  ["says that it needs no signature", `${encode({ alg: "none", typ: "JWT" })}.${payload}.`],
  [
    "keeps its signature and says it needs none",
    `${encode({ alg: "none", typ: "JWT" })}.${payload}.${signature}`,
  ],
  ["was changed", `${header}.${encode({ ...claims, tenant: "other" })}.${signature}`],
  [
    "has another last character",
    `${header}.${payload}.${signature.slice(0, -1)}${signature.endsWith("A") ? "B" : "A"}`,
  ],
  ["has a padded signature", `${good}=`],
  ["has no signature", `${header}.${payload}`],
  ["has an empty signature", `${header}.${payload}.`],
  ["has four parts", `${good}.${signature}`],
  ["has no subject", await sign({ ...claims, sub: "" }, secret, "HS256")],
  ["has no scope", await sign({ tenant: "acme", sub: "test", exp: inAMinute }, secret, "HS256")],
  ["is for a tenant that is no text", await sign({ ...claims, tenant: 7 }, secret, "HS256")],
  ["has a payload that is no JSON", `${header}.bm8.${signature}`],
  ["is no token", "hello"],
  ["is too long", `${good}${"a".repeat(9_000)}`],
])("a token that %s is refused", async (_what, token) => {
  const answer = await client.send("/v1/runs", { headers: { authorization: `Bearer ${token}` } });
  expect(answer.status).toBe(401);
  expect(answer.headers.get("www-authenticate")).toBe('Bearer realm="holdfast", error="invalid_token"');
  const body = await answer.text();
  expect(JSON.parse(body)).toMatchObject({ code: "unauthenticated" });
  expect(body).not.toContain(payload);
});

test("every spelling of a signature but one is refused", async () => {
  const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  const accepted = await Promise.all(
    Array.from(alphabet, async (last) =>
      verifyToken(`${good.slice(0, -1)}${last}`, [secret]).then(
        () => 1,
        () => 0,
      ),
    ),
  );
  expect(accepted.reduce<number>((sum, one) => sum + one, 0)).toBe(1);
});

test.each(["", "Basic YTpi", "Bearer", "Bearer ", good, `Bearer ${good} ${good}`])(
  "the header `Authorization: %s` is no token",
  async (authorization) => {
    expect((await client.send("/v1/runs", { headers: { authorization } })).status).toBe(401);
  },
);

test("a request without a token is told how to send one", async () => {
  const answer = await client.send("/v1/tenant", { headers: { authorization: "" } });
  expect(answer.status).toBe(401);
  expect(await answer.json()).toMatchObject({ detail: expect.stringContaining("Authorization: Bearer") });
});

test("a token in the query reads, and does not write", async () => {
  const bare = await createClient();
  const read = await bare.send(`/v1/runs?token=${good}`, { headers: { authorization: `Bearer ${good}` } });
  expect(read.status).toBe(200);
  const write = await bare.send(`/v1/agents/echo/runs?token=${good}`, {
    body: {},
    headers: { authorization: "" },
  });
  expect(write.status).toBe(401);
  expect(bare.logged.join("")).not.toContain(good);
});

test.each([
  ["/v1/agents/echo/runs", { body: { input: 1 } }, "runs:read"],
  ["/v1/runs/run-1/signals/go", { body: {} }, "runs:read approvals:write tenant:admin"],
  ["/v1/runs", {}, "runs:write"],
  ["/v1/runs/run-1", {}, ""],
  ["/v1/runs/run-1/history", {}, "runs"],
  ["/v1/tenant", {}, "runs:write"],
])("%s with %j is forbidden to the scope %j", async (path, request, scope) => {
  const answer = await client.send(path, { ...request, headers: await bearer({ tenant: "acme", scope }) });
  expect(answer.status).toBe(403);
  expect(await answer.json()).toMatchObject({ code: "forbidden" });
});

test("an operator may do everything in the tenant that it names", async () => {
  const headers = { ...(await bearer({ scope: "operator" })), "holdfast-tenant": "acme" };
  expect((await client.send("/v1/agents/echo/runs", { body: { input: 1 }, headers })).status).toBe(202);
  expect((await client.send("/v1/runs/run-000001", { headers })).status).toBe(200);
  expect((await client.send("/v1/tenant", { headers })).status).toBe(200);
  const elsewhere = { ...headers, "holdfast-tenant": "other" };
  expect((await client.send("/v1/runs/run-000001", { headers: elsewhere })).status).toBe(404);
});

test("an operator who names no tenant is asked for one", async () => {
  const headers = await bearer({ scope: "operator" });
  for (const path of ["/v1/runs", "/v1/tenant"])
    expect((await client.send(path, { headers })).status).toBe(400);
});

test.each(["Acme", "-acme", "a_b", "../acme", "a".repeat(64), "acme, other", ""])(
  "the tenant name %j is refused",
  async (tenant) => {
    const headers = { ...(await bearer({ scope: "operator" })), "holdfast-tenant": tenant };
    for (const path of ["/v1/runs", "/v1/tenant"])
      expect((await client.send(path, { headers })).status).toBe(400);
    expect(
      (await client.send("/v1/runs", { headers: await bearer({ tenant, scope: "runs:read" }) })).status,
    ).toBe(400);
    expect(client.host.tenants.size).toBe(0);
  },
);

test("a token without a tenant that is no operator's gets into none", async () => {
  const headers = { ...(await bearer({ scope: "runs:read" })), "holdfast-tenant": "acme" };
  for (const path of ["/v1/runs", "/v1/tenant"])
    expect((await client.send(path, { headers })).status).toBe(403);
});

test("a tenant's token that names its own tenant is fine", async () => {
  expect((await client.send("/v1/runs", { headers: { "holdfast-tenant": "acme" } })).status).toBe(200);
});
