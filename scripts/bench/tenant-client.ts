import { randomUUID } from "node:crypto";
import http from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import * as z from "zod";
import { tokenFor, type Target } from "./load.ts";

/** A request that is repeated, too. */
const answerWithinMs = 3 * 60_000;
/** Between a 503 and the next attempt: shorter than a real client's, so that it adds little to what is measured. */
const againAfterMs = 100;
const runAnswer = z.object({ id: z.string(), status: z.string() });

/** One client of a tenant that sends one request after another, on one connection. */
export class TenantClient {
  readonly #url: string;
  readonly #token: string;
  readonly #agent = new http.Agent({ keepAlive: true, maxSockets: 1 });

  private constructor(url: string, token: string) {
    this.#url = url;
    this.#token = token;
  }

  static async on(target: Target): Promise<TenantClient> {
    return new TenantClient(target.url, await tokenFor(target));
  }

  /** Resolves with the run's id at its 202, or where `toCompletion` is set, when it has completed. */
  async start(agent: string, input: object = {}, { toCompletion = false } = {}): Promise<string> {
    const query = toCompletion ? "?wait=60s" : "";
    const path = `/v1/agents/${agent}/runs${query}`;
    const { id, status } = await this.#send("POST", path, { input, key: randomUUID() });
    if (!toCompletion || status === "completed") return id;
    return await this.#awaitEnd(id);
  }

  /** Milliseconds from the request to the answer. */
  async readRunMs(id: string): Promise<number> {
    const begunAt = performance.now();
    await this.#send("GET", `/v1/runs/${id}`);
    return performance.now() - begunAt;
  }

  close(): void {
    this.#agent.destroy();
  }

  async #awaitEnd(id: string): Promise<string> {
    const deadline = performance.now() + answerWithinMs;
    while (performance.now() < deadline) {
      const { status } = await this.#send("GET", `/v1/runs/${id}?wait=30s`);
      if (status === "completed") return id;
      if (status === "failed") break;
    }
    throw new Error(`The bench's run ${id} did not complete.`);
  }

  /** As a client should, it repeats what was answered by 503, with the same key. */
  async #send(
    method: "GET" | "POST",
    path: string,
    { input, key }: { readonly input?: object; readonly key?: string } = {},
  ): Promise<z.infer<typeof runAnswer>> {
    const body = input === undefined ? "" : JSON.stringify({ input });
    const headers = {
      authorization: `Bearer ${this.#token}`,
      ...(body === "" ? {} : { "content-type": "application/json", "content-length": String(body.length) }),
      ...(key === undefined ? {} : { "idempotency-key": key }),
    };
    const deadline = performance.now() + answerWithinMs;
    for (;;) {
      const { status, text } = await this.#sendOnce({ method, path, headers, body }).catch(whenBrokenOff);
      if (status < 300) return runAnswer.parse(JSON.parse(text));
      if (status !== 503 || performance.now() > deadline)
        throw new Error(`The worker answered the bench ${status}: ${text.slice(0, 500)}`);
      await sleep(againAfterMs);
    }
  }

  #sendOnce({
    method,
    path,
    headers,
    body,
  }: Sent): Promise<{ readonly status: number; readonly text: string }> {
    return new Promise((resolve, reject) => {
      const options = { method, headers, agent: this.#agent, timeout: answerWithinMs };
      const request = http.request(`${this.#url}${path}`, options);
      request.on("error", reject);
      request.on("timeout", () => request.destroy(new Error("The worker did not answer the bench.")));
      request.on("response", (answer) => {
        const chunks: Buffer[] = [];
        answer.on("data", (chunk: Buffer) => chunks.push(chunk));
        answer.on("error", reject);
        answer.on("end", () =>
          resolve({ status: answer.statusCode ?? 500, text: Buffer.concat(chunks).toString() }),
        );
      });
      request.end(body);
    });
  }
}

/** A connection that breaks off says as little of the request as a 503; reads and requests with a key may be repeated. */
function whenBrokenOff(error: NodeJS.ErrnoException): { readonly status: 503; readonly text: string } {
  if (error.code !== "ECONNRESET") throw error;
  return { status: 503, text: error.message };
}

interface Sent {
  readonly method: string;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}
