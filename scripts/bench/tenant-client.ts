import http from "node:http";
import { signToken } from "../../app/http/token.ts";
import * as z from "zod";
import type { Target } from "./load.ts";

const answerWithinMs = 10 * 60_000;
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

  static async on({ url, tokenSecret, tenant }: Target): Promise<TenantClient> {
    const request = { tenant, sub: "bench", scope: "runs:read runs:write", expiresIn: "1h" } as const;
    return new TenantClient(url, await signToken(request, tokenSecret));
  }

  /** Resolves with the run's id at its 202, or where `toCompletion` is set, when it has completed. */
  async start(agent: string, input: object = {}, { toCompletion = false } = {}): Promise<string> {
    const query = toCompletion ? "?wait=60s" : "";
    const { id, status } = await this.#send("POST", `/v1/agents/${agent}/runs${query}`, { input });
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

  #send(method: string, path: string, body?: object): Promise<z.infer<typeof runAnswer>> {
    const text = body === undefined ? "" : JSON.stringify(body);
    const headers = {
      authorization: `Bearer ${this.#token}`,
      ...(text === "" ? {} : { "content-type": "application/json", "content-length": String(text.length) }),
    };
    return new Promise((resolve, reject) => {
      const options = { method, headers, agent: this.#agent, timeout: answerWithinMs };
      const request = http.request(`${this.#url}${path}`, options);
      request.on("error", reject);
      request.on("timeout", () => request.destroy(new Error("The worker did not answer the bench.")));
      request.on("response", (answer) => {
        const chunks: Buffer[] = [];
        answer.on("data", (chunk: Buffer) => chunks.push(chunk));
        answer.on("error", reject);
        answer.on("end", () => {
          const said = Buffer.concat(chunks).toString();
          if ((answer.statusCode ?? 500) >= 300)
            return reject(
              new Error(`The worker answered the bench ${answer.statusCode}: ${said.slice(0, 500)}`),
            );
          resolve(runAnswer.parse(JSON.parse(said)));
        });
      });
      request.end(text);
    });
  }
}
