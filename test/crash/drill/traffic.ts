import { setTimeout as sleep } from "node:timers/promises";
import type { Answer, WorkerClient } from "../../support/worker-client.ts";
import type { WorkerLife } from "../../support/worker.ts";
import type { KnownRun, Ledger } from "./ledger.ts";
import { approver, makePlan, tenants, type TenantId } from "./plan.ts";
import type { Random } from "./random.ts";

export const concurrentClients = 16;

export type Clients = ReadonlyMap<TenantId, WorkerClient>;

export function clientOf(clients: Clients, tenant: TenantId): WorkerClient {
  const client = clients.get(tenant);
  if (client === undefined) throw new Error(`No client of tenant "${tenant}"`);
  return client;
}

export async function clientsOf(life: WorkerLife): Promise<Clients> {
  return new Map(await Promise.all(tenants.map(async (id) => [id, await life.client(id)] as const)));
}

/** Clients that start runs, signal them and look at them, one thing after the other each, until the worker dies. */
export class Traffic {
  readonly #clients: Clients;
  readonly #ledger: Ledger;
  readonly #round: number;
  readonly #loops: readonly Promise<void>[];
  #state: "serving" | "dying" | "finished" = "serving";

  constructor(clients: Clients, ledger: Ledger, { round, random }: { round: number; random: Random }) {
    this.#clients = clients;
    this.#ledger = ledger;
    this.#round = round;
    this.#loops = Array.from({ length: concurrentClients }, (_, index) =>
      this.#loop(index, random.fork(index)),
    );
  }

  /** From now on no answer is owed; a client goes on until it gets none. */
  expectDeath(): void {
    this.#state = "dying";
  }

  /** Resolves when every client has found the worker dead, and has every answer that was still coming. */
  async ended(): Promise<void> {
    await Promise.all(this.#loops);
  }

  /** Resolves when every client has what it asked for; they ask no more. */
  async finish(): Promise<void> {
    this.#state = "finished";
    await Promise.all(this.#loops);
  }

  async #loop(index: number, random: Random): Promise<void> {
    for (let count = 0; this.#state !== "finished"; count += 1) {
      const run = this.#ledger.begin(makePlan(random, `r${this.#round}c${index}n${count}`), this.#round);
      try {
        await this.#see(run, random);
      } catch (error) {
        if (this.#state === "dying") return;
        this.#ledger.violate("bad-answer", `no answer came: ${String(error)}`);
        await sleep(100);
      }
    }
  }

  async #see(run: KnownRun, random: Random): Promise<void> {
    const { plan } = run;
    const client = clientOf(this.#clients, plan.tenant);
    const wait = plan.agent !== "approval" && random.chance(0.25) ? { wait: "2s" } : {};
    const started = await client.start(plan.agent, plan.input, { key: plan.key, ...wait });
    if (!(await this.#accepted(started, [200, 202]))) return;
    run.id = started.body.id;
    run.acknowledged = true;
    keepEnd(run, started);
    if (plan.agent === "approval" && random.chance(0.7)) await this.#approve(run, client, random);
    if (random.chance(0.5)) await this.#readHistory(run, client);
    if (random.chance(0.3)) {
      const shown = await client.run(started.body.id);
      if (await this.#accepted(shown, [200])) keepEnd(run, shown);
    }
  }

  /** At times before the run waits for it. */
  async #approve(run: KnownRun, client: WorkerClient, random: Random): Promise<void> {
    await sleep(random.between(0, 60));
    if (run.id === null) return;
    run.signal = { id: null };
    const payload = { by: approver(run.plan) };
    const answer = await client.signal(run.id, "go", { payload, key: run.plan.key });
    if (await this.#accepted(answer, [202])) run.signal = { id: answer.body.id };
  }

  async #readHistory(run: KnownRun, client: WorkerClient): Promise<void> {
    const answer = await client.history(run.id ?? "");
    if (await this.#accepted(answer, [200])) for (const row of answer.body.items) run.rows.set(row.seq, row);
  }

  async #accepted(answer: Answer, good: readonly number[]): Promise<boolean> {
    if (good.includes(answer.status)) return true;
    const { status, headers, body } = answer;
    if (status === 503 && headers.has("retry-after")) {
      this.#ledger.refused += 1;
      await sleep(50);
    } else this.#ledger.violate("bad-answer", `${status} ${JSON.stringify(body)}`);
    return false;
  }
}

function keepEnd(run: KnownRun, { body }: Awaited<ReturnType<WorkerClient["run"]>>): void {
  if (body.endedAt !== null) run.ended = body;
}
