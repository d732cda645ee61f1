import { pino } from "pino";
import { createApp, type AppParts } from "../../app/http/app.ts";
import { createMetrics, type Metrics } from "../../app/http/metrics.ts";
import { serveApp } from "../../app/http/server.ts";
import { ElsewhereError, type Holder } from "../../app/storage/errors.ts";
import { FakeHost } from "../fakes/host.ts";
import { bearer, forwardedOutcomes, secret } from "./client.ts";
import { holderAt, serveHolder, type HolderServer } from "./holder-server.ts";

/** A host that serves, and what it counts. */
export interface Served extends Holder {
  readonly host: FakeHost;
  readonly metrics: Metrics;
}

export const quick = { maxTries: 4, withinMs: 2_000, firstPauseMs: 1, maxPauseMs: 5 };

/** Hosts with the whole app on ports of their own, and what stands in for hosts; a client's requests go to any of them. */
export class ServedHosts {
  /** Of the client: a token of tenant `acme` by default. */
  headers: Record<string, string> = {};
  readonly #cleanups: (() => unknown)[] = [];

  static async open(): Promise<ServedHosts> {
    const hosts = new ServedHosts();
    hosts.headers = await bearer({ tenant: "acme", scope: "runs:read runs:write" });
    return hosts;
  }

  async serve(hostId: string, parts: Partial<AppParts> = {}): Promise<Served> {
    const host = new FakeHost(hostId);
    const metrics = createMetrics();
    const log = pino({ level: "silent" });
    const app = createApp({
      host,
      routing: "proxy",
      tokenSecrets: [secret],
      metrics,
      log,
      search: quick,
      ...parts,
    });
    const server = await serveApp(app, 0);
    this.atEnd(() => server.close(0));
    return { host, metrics, ...holderAt(`http://127.0.0.1:${server.port}`, hostId) };
  }

  async holder(...parameters: Parameters<typeof serveHolder>): Promise<HolderServer> {
    const server = await serveHolder(...parameters);
    this.atEnd(() => server.close());
    return server;
  }

  send(to: Served, path: string, init: RequestInit = {}): Promise<Response> {
    return fetch(`${to.address}${path}`, {
      ...init,
      headers: { ...this.headers, ...(init.headers as Record<string, string>) },
    });
  }

  atEnd(cleanup: () => unknown): void {
    this.#cleanups.push(cleanup);
  }

  async close(): Promise<void> {
    for (const cleanup of this.#cleanups.splice(0)) await cleanup();
  }
}

/** The tenant is at `where` as far as `served` knows, for so many questions or for ever. */
export function sendsTo(served: Served, where: Holder, questions = Infinity): void {
  served.host.refuse = (_arrived, asked) =>
    asked <= questions ? new ElsewhereError("acme", where, "holder") : undefined;
}

export function start(extra: Record<string, string> = {}): RequestInit {
  return { method: "POST", body: JSON.stringify({ input: 1 }), headers: extra };
}

export async function outcomes({ metrics }: Served): Promise<Readonly<Record<string, number>>> {
  return await forwardedOutcomes(metrics);
}

export async function problem(answer: Response): Promise<{ code: string; detail: string }> {
  return (await answer.json()) as { code: string; detail: string };
}
