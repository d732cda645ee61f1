import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from "prom-client";

/** What those who serve requests count, and what a scrape gets. */
export interface RequestMetrics {
  /** From a request's headers to its answer, in seconds. */
  answered(
    request: { readonly method: string; readonly route: string },
    status: number,
    seconds: number,
  ): void;
  /** A request was sent on. */
  forwarded(outcome: string): void;
  scrape(): Promise<{ readonly text: string; readonly contentType: string }>;
}

export interface Metrics extends RequestMetrics {
  /** Others register here too; `/metrics` shows it in the order of registration. */
  readonly registry: Registry;
  /** `read` gives the seconds since the oldest write that is not durable yet was committed, 0 if there is none. */
  readReplicationLag(read: () => number): void;
}

/**
 * How often the event loop's lag is looked at; an idle loop is told as this much. At the default of 10 ms the looks were most
 * of what a host at rest had to do.
 */
const loopLookEveryMs = 100;

/** The replication lag comes first: it is what an operator must see before anything else. */
export function createMetrics(): Metrics {
  const registry = new Registry();
  const registers = [registry];
  let replicationLagSeconds = (): number => 0;
  const replicationLag: Gauge = new Gauge({
    name: "holdfast_replication_lag_seconds",
    help: "Seconds since the oldest write that is not durable yet was committed; 0 when everything is durable.",
    registers,
    collect: () => replicationLag.set(replicationLagSeconds()),
  });
  const httpRequests = new Counter({
    name: "holdfast_http_requests_total",
    help: "Answered requests.",
    labelNames: ["method", "route", "status"] as const,
    registers,
  });
  const httpDuration = new Histogram({
    name: "holdfast_http_request_duration_seconds",
    help: "From a request's headers to its answer, the wait for durability included.",
    labelNames: ["method", "route"] as const,
    buckets: [0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60],
    registers,
  });
  const forwardedRequests = new Counter({
    name: "holdfast_forwarded_requests_total",
    help: "Requests for tenants of other hosts, each time that one was sent on, by what became of it.",
    labelNames: ["outcome"] as const,
    registers,
  });
  collectDefaultMetrics({ register: registry, eventLoopMonitoringPrecision: loopLookEveryMs });
  return {
    registry,
    readReplicationLag(read) {
      replicationLagSeconds = read;
    },
    answered(request, status, seconds) {
      httpRequests.inc({ ...request, status: String(status) });
      httpDuration.observe({ ...request }, seconds);
    },
    forwarded: (outcome) => forwardedRequests.inc({ outcome }),
    scrape: async () => ({ text: await registry.metrics(), contentType: registry.contentType }),
  };
}
