import { randomUUID } from "node:crypto";
import http from "node:http";
import { signToken } from "../../app/http/token.ts";

const answerWithinMs = 75_000;

/** What the clients of one stretch have seen. */
export interface LoadResult {
  readonly latenciesMs: readonly number[];
  readonly runsPerSecond: number;
  readonly runs: number;
}

export interface Target {
  readonly url: string;
  readonly tokenSecret: string;
  readonly tenant: string;
}

/** A token of the target's tenant that starts and reads runs. */
export async function tokenFor({ tokenSecret, tenant }: Target): Promise<string> {
  const request = { tenant, sub: "bench", scope: "runs:read runs:write", expiresIn: "1h" } as const;
  return await signToken(request, tokenSecret);
}

/** A tenant's users: each starts a run, waits for its end, starts another. */
export class Load {
  readonly #url: string;
  readonly #token: string;
  readonly #agent = new http.Agent({ keepAlive: true, maxSockets: 1_024 });

  private constructor(url: string, token: string) {
    this.#url = url;
    this.#token = token;
  }

  static async on(target: Target): Promise<Load> {
    return new Load(target.url, await tokenFor(target));
  }

  close(): void {
    this.#agent.destroy();
  }

  /** From the request to the answer of a run that has ended. */
  toCompletion(clients: number, forMs: number): Promise<LoadResult> {
    return this.#repeat(clients, forMs, async () => {
      const begunAt = performance.now();
      await this.#start("?wait=60s", 200);
      return performance.now() - begunAt;
    });
  }

  /** From the request to its 202. The client waits for the run's end, unmeasured, before it sends another. */
  toAcknowledgement(clients: number, forMs: number): Promise<LoadResult> {
    return this.#repeat(clients, forMs, async () => {
      const key = randomUUID();
      const begunAt = performance.now();
      await this.#start("", 202, key);
      const tookMs = performance.now() - begunAt;
      await this.#start("?wait=60s", 200, key);
      return tookMs;
    });
  }

  async #repeat(clients: number, forMs: number, once: () => Promise<number>): Promise<LoadResult> {
    const latenciesMs: number[] = [];
    const begunAt = performance.now();
    const client = async (): Promise<void> => {
      do latenciesMs.push(await once());
      while (performance.now() - begunAt < forMs);
    };
    await Promise.all(Array.from({ length: clients }, client));
    const seconds = (performance.now() - begunAt) / 1_000;
    return { latenciesMs, runs: latenciesMs.length, runsPerSecond: latenciesMs.length / seconds };
  }

  #start(query: string, expected: number, key?: string): Promise<void> {
    const body = JSON.stringify({ input: {} });
    const headers = {
      authorization: `Bearer ${this.#token}`,
      "content-type": "application/json",
      "content-length": String(body.length),
      ...(key === undefined ? {} : { "idempotency-key": key }),
    };
    return new Promise((resolve, reject) => {
      const request = http.request(`${this.#url}/v1/agents/three-steps/runs${query}`, {
        method: "POST",
        headers,
        agent: this.#agent,
        timeout: answerWithinMs,
      });
      request.on("error", reject);
      request.on("timeout", () => request.destroy(new Error("The worker did not answer the bench.")));
      request.on("response", (answer) => {
        const chunks: Buffer[] = [];
        answer.on("data", (chunk: Buffer) => chunks.push(chunk));
        answer.on("error", reject);
        answer.on("end", () => {
          if (answer.statusCode === expected) return resolve();
          const text = Buffer.concat(chunks).toString().slice(0, 500);
          reject(new Error(`The worker answered the bench ${answer.statusCode}, not ${expected}: ${text}`));
        });
      });
      request.end(body);
    });
  }
}
