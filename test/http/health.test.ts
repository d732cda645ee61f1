import { beforeEach, expect, test } from "vitest";
import { createClient, type Client } from "./client.ts";

let client: Client;
beforeEach(async () => {
  client = await createClient();
});

const bare = { headers: { authorization: "" } };

test("health needs no token", async () => {
  const answer = await client.send("/healthz", bare);
  expect(answer.status).toBe(200);
  expect(answer.headers.get("cache-control")).toBe("no-store");
});

test("readiness is 503 while a part is not ready, and says which", async () => {
  expect((await client.send("/readyz", bare)).status).toBe(200);
  client.host.ready = false;
  const answer = await client.send("/readyz", bare);
  expect(answer.status).toBe(503);
  expect(await answer.json()).toEqual({
    ready: false,
    checks: [{ name: "litestream", ok: false, detail: "" }],
  });
});

test("the replication lag is the first metric, as it is at the moment of asking", async () => {
  let lag = 1.5;
  client.metrics.readReplicationLag(() => lag);
  const first = await (await client.send("/metrics", bare)).text();
  expect(first.split("\n").slice(0, 3).join("\n")).toMatch(
    /^# HELP holdfast_replication_lag_seconds .+\n# TYPE holdfast_replication_lag_seconds gauge\nholdfast_replication_lag_seconds 1.5$/,
  );
  lag = 0;
  expect(await (await client.send("/metrics", bare)).text()).toContain(
    "\nholdfast_replication_lag_seconds 0\n",
  );
});

test("requests are counted by route, and no client can invent a label", async () => {
  await client.send("/v1/runs/run-1");
  await client.send("/v1/runs/run-2");
  await client.send("/v1/made-up");
  await client.send("/made-up", { method: "MADEUP" });
  const text = await (await client.send("/metrics", bare)).text();
  expect(text).toContain('holdfast_http_requests_total{method="GET",route="/v1/runs/:id",status="404"} 2');
  expect(text).toContain('holdfast_http_requests_total{method="GET",route="unmatched",status="404"} 1');
  expect(text).toContain('holdfast_http_requests_total{method="other",route="unmatched",status="404"} 1');
  expect(text.toLowerCase()).not.toMatch(/made-?up|acme/);
});
