import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { HistoryJson, RunJson } from "../../app/http/run-json.ts";
import type { ExecutionLine } from "../crash/agents/execution-log.ts";
import { startVersityGw, type VersityGw } from "./versitygw.ts";
import type { WorkerClient } from "./worker-client.ts";
import { storeEnvironment, WorkerPlace, type WorkerLife } from "./worker.ts";

const boundMs = 30_000;

/** The real worker on a real S3 server. It dies when a test says so, with all that it had on disk, and comes back. */
export class KilledWorker {
  readonly #store: VersityGw;
  readonly #place: WorkerPlace;
  #life: WorkerLife | null = null;

  private constructor(store: VersityGw, place: WorkerPlace) {
    this.#store = store;
    this.#place = place;
  }

  static async open(environment: Readonly<Record<string, string>> = {}): Promise<KilledWorker> {
    const store = await startVersityGw();
    const place = await WorkerPlace.open({ ...storeEnvironment(store, "killed"), ...environment });
    return new KilledWorker(store, place);
  }

  get folder(): string {
    return this.#place.folder;
  }

  get life(): WorkerLife {
    if (this.#life === null) throw new Error("The worker was not started.");
    return this.#life;
  }

  /** Starts the worker if it does not live. */
  async start(environment: Readonly<Record<string, string>> = {}): Promise<void> {
    const executions = { DRILL_EXECUTIONS: this.#executionsFile };
    this.#life ??= await this.#place.start({ ...executions, ...environment });
  }

  /** SIGKILL to the worker and to Litestream, the data folder deleted, and the worker started again. */
  async dieAndReturn(environment: Readonly<Record<string, string>> = {}): Promise<void> {
    await this.life.killHard();
    this.#life = null;
    await this.#place.wipe();
    await this.start(environment);
  }

  client(tenantId: string): Promise<WorkerClient> {
    return this.life.client(tenantId);
  }

  /** The steps of a run that were really begun, in order, again and again if they were begun so often. */
  executed(runId: string): readonly string[] {
    if (!existsSync(this.#executionsFile)) return [];
    return readFileSync(this.#executionsFile, "utf8")
      .split("\n")
      .filter((line) => line !== "")
      .map((line) => JSON.parse(line) as ExecutionLine)
      .filter(({ run, what }) => run === runId && what === "start")
      .map(({ step }) => step);
  }

  async close(): Promise<void> {
    await this.#place.close();
    await this.#store.stop();
  }

  get #executionsFile(): string {
    return join(this.#place.folder, "executions.log");
  }
}

/** The run, once it is as it should be. */
export function runOnce(
  client: WorkerClient,
  runId: string,
  isSo: (run: RunJson) => boolean,
): Promise<RunJson> {
  return once(`run ${runId}`, async () => (await client.run(runId)).body, isSo);
}

export function runWith(client: WorkerClient, runId: string, status: RunJson["status"]): Promise<RunJson> {
  return runOnce(client, runId, (run) => run.status === status);
}

/** The history, once it has so many rows of a kind. All that it shows is durable. */
export function historyWith(
  client: WorkerClient,
  runId: string,
  kind: HistoryJson["kind"],
  count = 1,
): Promise<readonly HistoryJson[]> {
  const read = async (): Promise<readonly HistoryJson[]> => (await client.history(runId)).body.items;
  return once(`history of ${runId}`, read, (rows) => rowsOf(rows, kind).length >= count);
}

export function rowsOf(rows: readonly HistoryJson[], kind: HistoryJson["kind"]): readonly HistoryJson[] {
  return rows.filter((row) => row.kind === kind);
}

/** What a row that must be there says. */
// oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- The row's kind says what it is, so only the caller can.
export function dataOf<Data>(row: HistoryJson | undefined): Data {
  if (row === undefined) throw new Error("There is no such row.");
  return row.data as Data;
}

async function once<Value>(
  what: string,
  read: () => Promise<Value>,
  isSo: (value: Value) => boolean,
): Promise<Value> {
  const deadline = performance.now() + boundMs;
  for (;;) {
    const value = await read();
    if (isSo(value)) return value;
    if (performance.now() > deadline)
      throw new Error(
        `The ${what} did not get so far within ${boundMs} ms: ${JSON.stringify(value).slice(-2_000)}`,
      );
    await sleep(25);
  }
}
