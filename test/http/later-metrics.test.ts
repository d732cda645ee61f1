import { expect, test } from "vitest";
import { LaterMetrics } from "../../app/http/later-metrics.ts";
import { createMetrics, type RequestMetrics } from "../../app/http/metrics.ts";
import { forwardedOutcomes } from "./client.ts";

const hour = { afterMs: 3_600_000 };
const request = { method: "GET", route: "/v1/runs/:id" };

test("what was counted before the metrics were loaded is in the first scrape", async () => {
  const loaded = createMetrics();
  let loads = 0;
  const later = new LaterMetrics(async () => {
    loads += 1;
    return loaded;
  }, hour);
  later.answered(request, 200, 0.2);
  later.forwarded("replayed");
  expect(loads).toBe(0);
  const { text, contentType } = await later.scrape();
  expect(text).toContain('holdfast_http_requests_total{method="GET",route="/v1/runs/:id",status="200"} 1');
  expect(text).toContain('holdfast_http_request_duration_seconds_sum{method="GET",route="/v1/runs/:id"} 0.2');
  expect(contentType).toMatch(/^text\/plain/);
  later.answered(request, 200, 0.2);
  later.forwarded("replayed");
  expect(await forwardedOutcomes(loaded)).toEqual({ replayed: 2 });
  expect((await later.scrape()).text).toContain('status="200"} 2');
  expect(loads).toBe(1);
});

test("metrics are loaded after a while, although nobody scrapes them", async () => {
  const loaded = Promise.withResolvers<string>();
  const later = new LaterMetrics(
    async () => ({ ...createMetrics(), forwarded: loaded.resolve }) satisfies RequestMetrics,
    { afterMs: 1 },
  );
  later.forwarded("refused");
  expect(await loaded.promise).toBe("refused");
});

test("a scrape says so if the metrics cannot be loaded, and the next one tries again and has all that was counted", async () => {
  const failures = [new Error("too many open files")];
  const later = new LaterMetrics(async () => {
    const failure = failures.pop();
    if (failure !== undefined) throw failure;
    return createMetrics();
  }, hour);
  later.answered(request, 200, 0.1);
  await expect(later.scrape()).rejects.toThrow("too many open files");
  later.answered(request, 200, 0.1);
  expect((await later.scrape()).text).toContain('status="200"} 2');
});
