import { isDeepStrictEqual } from "node:util";
import { setTimeout as sleep } from "node:timers/promises";
import type { RunJson } from "../../../app/http/run-json.ts";
import type { Answer, WorkerClient } from "../../support/worker-client.ts";
import type { KnownRun, Ledger } from "./ledger.ts";
import { approver, tenants, wrongEnd, type TenantId } from "./plan.ts";
import { clientOf, type Clients } from "./traffic.ts";

/** A tenant that cannot be served for so long is a violation. */
const servedWithinMs = 15_000;
const endedWithinMs = 15_000;
const atOnce = 16;

/** Asks the worker for everything that was acknowledged, after nobody has called it since its start. */
export class Verification {
  readonly #clients: Clients;
  readonly #ledger: Ledger;
  readonly #round: number;
  readonly #unavailable = new Set<TenantId>();

  constructor(clients: Clients, ledger: Ledger, round: number) {
    this.#clients = clients;
    this.#ledger = ledger;
    this.#round = round;
  }

  async everything(): Promise<void> {
    for (const tenant of tenants) {
      const there = await this.#list(tenant);
      if (there === undefined) continue;
      for (const run of this.#ledger.ofTenant(tenant)) this.#checkRun(run, there);
      this.#checkStrangers(tenant, there);
    }
    const mine = this.#ledger.ofRound(this.#round);
    await each(mine, (run) => this.#checkRows(run));
    await each(mine, (run) => this.#startAgain(run));
    await each(mine, (run) => this.#signalAgain(run));
    for (const tenant of tenants) await this.#awaitEnds(tenant);
  }

  /** Nobody has called yet: what was acknowledged is there, and has ended unless it waits for someone. */
  #checkRun(run: KnownRun, there: ReadonlyMap<string, RunJson>): void {
    if (!run.acknowledged || run.id === null) return;
    const found = there.get(run.id);
    const name = describe(run);
    if (found === undefined) {
      this.#ledger.violate("lost-run", `${name} was acknowledged and is not there`);
      return;
    }
    if (run.ended !== null && !isDeepStrictEqual(found, run.ended)) {
      const was = `${JSON.stringify(run.ended)}; now it is ${JSON.stringify(found)}`;
      this.#ledger.violate("lost-result", `${name} was shown as ${was}`);
      return;
    }
    const mayWait = run.plan.agent === "approval" && run.signal?.id == null;
    if (found.status === "waiting" && !mayWait)
      this.#ledger.violate("lost-signal", `${name} still waits, and its signal was acknowledged`);
    else if (found.endedAt === null && !mayWait)
      this.#ledger.violate("not-ended", `${name} is ${found.status} and nobody brings it on`);
    else if (found.endedAt !== null) this.#checkEnd(run, found);
  }

  #checkEnd(run: KnownRun, found: RunJson): void {
    const wrong = wrongEnd(run.plan, found);
    if (wrong !== null) this.#ledger.violate("wrong-end", `${describe(run)}: ${wrong}`);
  }

  /** A run that nobody has started, or one that is there twice. */
  #checkStrangers(tenant: TenantId, there: ReadonlyMap<string, RunJson>): void {
    const seen = new Set<KnownRun>();
    for (const { id, input } of there.values()) {
      const token = typeof input === "object" && input !== null && "token" in input ? input.token : undefined;
      const run = this.#ledger.byToken(token);
      if (run === undefined || run.plan.tenant !== tenant)
        this.#ledger.violate("unknown-run", `tenant "${tenant}" has run ${id}, which no client has started`);
      else if (seen.has(run)) this.#ledger.violate("second-run", `${describe(run)} is there twice`);
      else seen.add(run);
    }
  }

  async #checkRows(run: KnownRun): Promise<void> {
    const { id } = run;
    if (id === null || run.rows.size === 0) return;
    const answer = await this.#ask(run.plan.tenant, (client) => client.history(id));
    if (answer === undefined) return;
    const now = new Map(answer.status === 200 ? answer.body.items.map((row) => [row.seq, row]) : []);
    for (const [seq, row] of run.rows)
      if (!isDeepStrictEqual(now.get(seq), row)) {
        const was = `${JSON.stringify(row)}; now it is ${JSON.stringify(now.get(seq))}`;
        this.#ledger.violate("lost-row", `row ${seq} of ${describe(run)} was shown as ${was}`);
      }
  }

  /** The key of a start that was acknowledged names the run; that of any other start may begin it now. */
  async #startAgain(run: KnownRun): Promise<void> {
    const { plan } = run;
    const answer = await this.#ask(plan.tenant, (client) =>
      client.start(plan.agent, plan.input, { key: plan.key }),
    );
    if (answer === undefined) return;
    const { status, body } = answer;
    const expected = run.acknowledged ? [200] : [200, 202];
    if (!expected.includes(status) || (run.id !== null && body.id !== run.id))
      this.#ledger.violate(
        "second-run",
        `${describe(run)}, started again: ${status} ${JSON.stringify(body)}`,
      );
    run.id ??= body.id;
    run.acknowledged = true;
  }

  async #signalAgain(run: KnownRun): Promise<void> {
    const { plan, signal, id } = run;
    if (plan.agent !== "approval" || id === null) return;
    const payload = { by: approver(plan) };
    const answer = await this.#ask(plan.tenant, (client) =>
      client.signal(id, "go", { payload, key: plan.key }),
    );
    if (answer === undefined) return;
    const repeated = signal?.id != null;
    const expected = repeated ? [200] : [200, 202];
    if (!expected.includes(answer.status) || (repeated && answer.body.id !== signal.id))
      this.#ledger.violate(
        "lost-signal",
        `${describe(run)}, signalled again: ${answer.status} ${JSON.stringify(answer.body)}`,
      );
    run.signal = { id: answer.body.id };
  }

  async #awaitEnds(tenant: TenantId): Promise<void> {
    const deadline = performance.now() + endedWithinMs;
    const mine = this.#ledger.ofTenant(tenant).filter(({ round }) => round === this.#round);
    for (;;) {
      const there = await this.#list(tenant);
      if (there === undefined) return;
      const open = mine.filter(({ id }) => id !== null && there.get(id)?.endedAt === null);
      if (open.length > 0 && performance.now() < deadline) {
        await sleep(50);
        continue;
      }
      for (const run of open) this.#ledger.violate("not-ended", `${describe(run)} does not end`);
      for (const run of mine) {
        const found = there.get(run.id ?? "");
        if (found?.endedAt != null) this.#checkEnd(run, (run.ended ??= found));
      }
      return;
    }
  }

  /** All runs of the tenant, by their ids. */
  async #list(tenant: TenantId): Promise<ReadonlyMap<string, RunJson> | undefined> {
    const runs = new Map<string, RunJson>();
    for (let cursor: string | null = null; ;) {
      const page: Answer<{ items: readonly RunJson[]; next: string | null }> | undefined = await this.#ask(
        tenant,
        (client) => client.runs(cursor),
      );
      if (page === undefined) return undefined;
      for (const run of page.body.items) runs.set(run.id, run);
      cursor = page.body.next;
      if (cursor === null) return runs;
    }
  }

  /** Repeats what is refused with 503 for a while; undefined, and a violation, if that does not help. A tenant gets one such while. */
  async #ask<Body>(
    tenant: TenantId,
    request: (client: WorkerClient) => Promise<Answer<Body>>,
  ): Promise<Answer<Body> | undefined> {
    const deadline = performance.now() + servedWithinMs;
    while (!this.#unavailable.has(tenant)) {
      const answer = await request(clientOf(this.#clients, tenant));
      if (answer.status < 300) return answer;
      const refused = answer.status === 503 && answer.headers.has("retry-after");
      if (refused && performance.now() < deadline) {
        this.#ledger.refused += 1;
        await sleep(100);
        continue;
      }
      if (refused) this.#unavailable.add(tenant);
      const kind = refused ? "unavailable" : "bad-answer";
      this.#ledger.violate(kind, `tenant "${tenant}": ${answer.status} ${JSON.stringify(answer.body)}`);
      break;
    }
    return undefined;
  }
}

function describe({ plan, id }: KnownRun): string {
  return `run ${id ?? "(never named)"} of agent "${plan.agent}", tenant "${plan.tenant}", key "${plan.key}"`;
}

async function each<Item>(items: readonly Item[], work: (item: Item) => Promise<void>): Promise<void> {
  const queue = [...items];
  const worker = async (): Promise<void> => {
    for (let item = queue.shift(); item !== undefined; item = queue.shift()) await work(item);
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
}
