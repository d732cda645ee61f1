import { signToken } from "../../app/http/token.ts";
import type { HistoryJson, RunJson } from "../../app/http/run-json.ts";

const answerBoundMs = 75_000;

/** What a request was answered. */
export interface Answer<Body = unknown> {
  readonly status: number;
  readonly headers: Headers;
  /** The JSON of the answer, whatever the status says; its text if it is no JSON. */
  readonly body: Body;
}

export interface StartOptions {
  readonly key?: string;
  /** As in `?wait=`. */
  readonly wait?: string;
  readonly durability?: "local" | "replicated";
  /** Before the run begins, as text or in milliseconds. */
  readonly delay?: string | number;
}

/** A tenant's user. Rejects only where no answer came. */
export class WorkerClient {
  readonly #url: string;
  readonly #headers: Readonly<Record<string, string>>;

  private constructor(url: string, token: string) {
    this.#url = url;
    this.#headers = { authorization: `Bearer ${token}` };
  }

  static async for(options: {
    readonly url: string;
    readonly tenantId: string;
    readonly tokenSecret: string;
  }): Promise<WorkerClient> {
    const { url, tenantId, tokenSecret } = options;
    const scope = "runs:read runs:write";
    const token = await signToken({ tenant: tenantId, sub: "test", scope, expiresIn: "1h" }, tokenSecret);
    return new WorkerClient(url, token);
  }

  start(agent: string, input: unknown, options: StartOptions = {}): Promise<Answer<RunJson>> {
    const { key, wait, durability, delay } = options;
    const query = wait === undefined ? "" : `?wait=${wait}`;
    return this.#send(`/v1/agents/${agent}/runs${query}`, { key, body: { input, durability, delay } });
  }

  signal(
    runId: string,
    name: string,
    { payload, key }: { readonly payload: unknown; readonly key?: string },
  ): Promise<Answer<{ readonly id: string }>> {
    return this.#send(`/v1/runs/${runId}/signals/${name}`, { key, body: { payload } });
  }

  run(runId: string): Promise<Answer<RunJson>> {
    return this.#send(`/v1/runs/${runId}`);
  }

  history(runId: string): Promise<Answer<{ readonly items: readonly HistoryJson[] }>> {
    return this.#send(`/v1/runs/${runId}/history?limit=500`);
  }

  runs(
    cursor: string | null,
  ): Promise<Answer<{ readonly items: readonly RunJson[]; readonly next: string | null }>> {
    return this.#send(`/v1/runs?limit=200${cursor === null ? "" : `&cursor=${cursor}`}`);
  }

  /** `/cancel`, `/pause`, `/resume`, `/retry` and `/fork` of a run. */
  control(runId: string, action: string, body: unknown = {}): Promise<Answer<RunJson>> {
    return this.#send(`/v1/runs/${runId}/${action}`, { body });
  }

  remove(runId: string): Promise<Answer> {
    return this.#send(`/v1/runs/${runId}`, { method: "DELETE" });
  }

  /** A route of `app/routes.ts`. */
  app<Body>(path: string, request: { readonly method?: string } = {}): Promise<Answer<Body>> {
    return this.#send(`/app${path}`, request);
  }

  tenant(): Promise<Answer<TenantJson>> {
    return this.#send("/v1/tenant");
  }

  async #send<Body>(
    path: string,
    {
      key,
      body,
      method,
    }: { readonly key?: string | undefined; readonly body?: unknown; readonly method?: string } = {},
  ): Promise<Answer<Body>> {
    const answer = await fetch(`${this.#url}${path}`, {
      method: method ?? (body === undefined ? "GET" : "POST"),
      headers: {
        ...this.#headers,
        ...(body === undefined ? {} : { "content-type": "application/json" }),
        ...(key === undefined ? {} : { "idempotency-key": key }),
      },
      signal: AbortSignal.timeout(answerBoundMs),
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await answer.text();
    const { status, headers } = answer;
    const isJson = /json/.test(headers.get("content-type") ?? "");
    return { status, headers, body: (isJson ? JSON.parse(text) : text) as Body };
  }
}

/** `GET /v1/tenant`. */
export interface TenantJson {
  readonly state: "open" | "unavailable";
  readonly epoch: number | null;
  readonly host: string | null;
  readonly replication: {
    readonly state: "ok" | "late" | "failing" | "unknown";
    readonly oldestUndurableAt: string | null;
    readonly lastDurableAt: string | null;
    readonly error: string | null;
  };
}

/** A problem's code, or undefined. */
export function codeOf({ body }: Answer): unknown {
  return typeof body === "object" && body !== null && "code" in body ? body.code : undefined;
}
