import { setTimeout as sleep } from "node:timers/promises";
import type { RunJson } from "../../app/http/run-json.ts";
import type { Random } from "../crash/drill/random.ts";
import type { Fleet } from "./fleet.ts";

/** A write that some host has acknowledged, and when the request was sent and answered (milliseconds of one clock). */
export interface Acknowledged {
  readonly tenant: string;
  readonly key: string;
  readonly runId: string;
  readonly host: string;
  readonly epoch: number;
  readonly sentAt: number;
  readonly answeredAt: number;
}

export type Tenants = readonly [string, ...string[]];

const clientsAtOnce = 8;
const answerWithinMs = 20_000;
const pauseMs = 40;

/**
 * Clients that start runs at any host, as a load balancer sends them: what is refused or breaks is repeated at the next host
 * with the same key.
 */
export class FleetTraffic {
  readonly acknowledged: Acknowledged[] = [];
  /** Answers that were neither an acknowledgement nor a 503. */
  readonly wrong: string[] = [];
  repeated = 0;
  readonly #fleet: Fleet;
  readonly #tenants: Tenants;
  readonly #tokens: ReadonlyMap<string, string>;
  readonly #loops: readonly Promise<void>[];
  #stopped = false;

  private constructor(
    fleet: Fleet,
    { tenants, tokens }: { readonly tenants: Tenants; readonly tokens: ReadonlyMap<string, string> },
    random: Random,
  ) {
    this.#fleet = fleet;
    this.#tenants = tenants;
    this.#tokens = tokens;
    this.#loops = Array.from({ length: clientsAtOnce }, (_, index) => this.#loop(index, random.fork(index)));
  }

  static async start(fleet: Fleet, tenants: Tenants, random: Random): Promise<FleetTraffic> {
    const tokens = await Promise.all(tenants.map(async (id) => [id, await fleet.token(id)] as const));
    return new FleetTraffic(fleet, { tenants, tokens: new Map(tokens) }, random);
  }

  /** Resolves when every client has the answer that it waits for; they ask no more. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await Promise.all(this.#loops);
  }

  async #loop(index: number, random: Random): Promise<void> {
    for (let count = 0; !this.#stopped; count += 1) {
      const tenant = random.pick(this.#tenants);
      await this.#start(tenant, `${tenant}-c${index}n${count}`, random);
      await sleep(random.between(0, 20));
    }
  }

  async #start(tenant: string, key: string, random: Random): Promise<void> {
    for (let turn = random.between(0, 2); ; turn += 1) {
      const up = this.#fleet.up;
      const host = up[turn % Math.max(1, up.length)];
      if (host !== undefined && (await this.#tryAt(host.url, tenant, key))) return;
      // What was not acknowledged when the clients stopped is nobody's loss.
      if (this.#stopped) return;
      this.repeated += 1;
      await sleep(pauseMs);
    }
  }

  async #tryAt(url: string, tenant: string, key: string): Promise<boolean> {
    const sentAt = performance.now();
    const answer = await fetch(`${url}/v1/agents/chain/runs`, {
      method: "POST",
      headers: {
        authorization: `Bearer ${this.#tokens.get(tenant)}`,
        "content-type": "application/json",
        "idempotency-key": key,
      },
      body: JSON.stringify({ input: { token: key, steps: 2, ms: 1 } }),
      signal: AbortSignal.timeout(answerWithinMs),
    }).catch(() => null);
    const text = (await answer?.text().catch(() => null)) ?? null;
    if (answer === null || text === null) return false;
    if (answer.status === 503) return false;
    if (answer.status !== 202 && answer.status !== 200) {
      this.wrong.push(`${answer.status} ${text.slice(0, 300)}`);
      return false;
    }
    const run = JSON.parse(text) as RunJson;
    this.acknowledged.push({
      tenant,
      key,
      runId: run.id,
      host: answer.headers.get("holdfast-host") ?? "nobody",
      epoch: Number(answer.headers.get("holdfast-epoch")),
      sentAt,
      answeredAt: performance.now(),
    });
    return true;
  }
}
