import type { Hono } from "hono";
import { pino } from "pino";
import { createApp, type AppParts } from "../../app/http/app.ts";
import { createMetrics, type Metrics } from "../../app/http/metrics.ts";
import { signToken } from "../../app/http/token.ts";
import type { AppEnv } from "../../app/http/user-env.ts";
import { FakeHost } from "../fakes/host.ts";

export const secret = "the-secret-of-these-tests-is-32-bytes-long";
export const oldSecret = "the-secret-before-that-is-32-bytes-long-too";

export interface Client {
  readonly host: FakeHost;
  readonly metrics: Metrics;
  /** What was logged, one JSON text a line. */
  readonly logged: string[];
  /** Sends a request with a token of tenant `acme` that may do all of `runs:*`; `headers` may replace it. */
  send(path: string, request?: ClientRequest): Promise<Response>;
}

export interface ClientRequest {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** Text goes as it is, anything else as JSON. */
  readonly body?: unknown;
  readonly signal?: AbortSignal;
}

/** The whole app on a fake host, with the user's routes if any are given. */
export async function createClient(
  routes?: Hono<AppEnv>,
  parts: Partial<Pick<AppParts, "routing" | "search">> = {},
): Promise<Client> {
  const host = new FakeHost();
  const metrics = createMetrics();
  const logged: string[] = [];
  const log = pino({ level: "debug" }, { write: (line: string) => void logged.push(line) });
  const app = createApp({
    host,
    routing: "proxy",
    tokenSecrets: [secret, oldSecret],
    metrics,
    log,
    ...parts,
    ...(routes === undefined ? {} : { routes }),
  });
  const headers = await bearer({ tenant: "acme", scope: "runs:read runs:write" });
  return {
    host,
    metrics,
    logged,
    async send(path, request = {}) {
      const { body } = request;
      return app.request(path, {
        method: request.method ?? (body === undefined ? "GET" : "POST"),
        headers: { ...headers, ...request.headers },
        ...(body === undefined ? {} : { body: typeof body === "string" ? body : JSON.stringify(body) }),
        ...(request.signal === undefined ? {} : { signal: request.signal }),
      });
    },
  };
}

/** How many requests were sent on, by what became of them. */
export async function forwardedOutcomes(metrics: Metrics): Promise<Readonly<Record<string, number>>> {
  return await counted(metrics, { name: "holdfast_forwarded_requests_total", by: "outcome" });
}

/** How many requests were answered, by their status. */
export async function answeredStatuses(metrics: Metrics): Promise<Readonly<Record<string, number>>> {
  return await counted(metrics, { name: "holdfast_http_requests_total", by: "status" });
}

async function counted(
  { registry }: Metrics,
  { name, by }: { readonly name: string; readonly by: string },
): Promise<Readonly<Record<string, number>>> {
  const counts: Record<string, number> = {};
  const metric = await registry.getSingleMetric(name)?.get();
  for (const { labels, value } of metric?.values ?? [])
    counts[String(labels[by])] = (counts[String(labels[by])] ?? 0) + value;
  return counts;
}

/** The header of a token that holds for a minute. */
export async function bearer(claims: { tenant?: string; scope: string }): Promise<{ authorization: string }> {
  const token = await signToken({ ...claims, sub: "test", expiresIn: "1m" }, secret);
  return { authorization: `Bearer ${token}` };
}
