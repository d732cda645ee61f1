import * as fc from "fast-check";
import { expect, test } from "vitest";
import { createClient } from "./client.ts";

const seed = Number(process.env.FUZZ_SEED ?? Date.now() % 2 ** 31);
const options = { seed, numRuns: 400 };

const json = fc.json({ maxDepth: 6 });
const startLike = fc.record(
  {
    input: fc.jsonValue(),
    delay: fc.oneof(fc.jsonValue(), fc.double(), fc.string()),
    durability: fc.oneof(fc.jsonValue(), fc.constantFrom("local", "replicated")),
    payload: fc.jsonValue(),
  },
  { requiredKeys: [] },
);
const body = fc.oneof(
  fc.constantFrom('{"__proto__":{"input":1}}', '{"constructor":1}', '{"input":1e999}', '{"input":"\\ud800"}'),
  json,
  startLike.map((value) => JSON.stringify(value)),
  startLike.map((value) => JSON.stringify(value).slice(0, -1)),
  fc.string({ unit: "binary", maxLength: 200 }),
);
/** What a URL may hold unescaped or escaped; "%" alone makes broken escapes. */
const segment = fc.oneof(
  fc.constantFrom(
    "echo",
    "greet",
    "run-000001",
    "runs",
    "signals",
    "history",
    "%",
    "%00",
    "%ff",
    "..",
    "constructor",
  ),
  fc.string({ maxLength: 20 }).map(encodeURIComponent),
);
const queryValue = fc.oneof(
  fc.nat().map(String),
  fc.string({ maxLength: 20 }),
  fc.constantFrom("-1", "1e9", "30ms"),
);
const header = fc.string({ maxLength: 40 }).map((text) => text.replaceAll(/[^\x20-\x7e]/g, "?"));

test(`no body is answered by a 500 (seed ${seed})`, async () => {
  const client = await createClient();
  await client.send("/v1/agents/echo/runs", { body: { input: 1 } });
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom("/v1/agents/echo/runs", "/v1/agents/greet/runs", "/v1/runs/run-000001/signals/go"),
      body,
      async (path, text) => {
        const answer = await client.send(path, { method: "POST", body: text });
        expect([200, 202, 400, 404, 409, 422]).toContain(answer.status);
        await answer.json();
      },
    ),
    options,
  );
}, 120_000);

test(`no path, query or header is answered by a 500 (seed ${seed})`, async () => {
  const client = await createClient();
  await client.send("/v1/agents/echo/runs", { body: { input: 1 } });
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom("GET", "POST", "PUT", "HEAD", "OPTIONS"),
      fc.array(segment, { maxLength: 5 }),
      fc.dictionary(
        fc.constantFrom("limit", "cursor", "status", "after", "agent", "wait", "token"),
        queryValue,
      ),
      fc.dictionary(
        fc.constantFrom(
          "idempotency-key",
          "holdfast-tenant",
          "holdfast-forwarded",
          "x-request-id",
          "content-type",
        ),
        header,
      ),
      async (method, segments, query, headers) => {
        const path = `/v1/${segments.join("/")}?${new URLSearchParams(query).toString()}`;
        const answer = await client.send(path, {
          method,
          headers,
          ...(method === "POST" ? { body: { input: { name: "Ada" } } } : {}),
        });
        expect([200, 202, 400, 403, 404, 409, 422]).toContain(answer.status);
      },
    ),
    options,
  );
}, 120_000);
