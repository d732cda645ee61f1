import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { locateLitestreamSocket, removeSocketFolder } from "../../app/storage/litestream-socket.ts";
import { killAtOnce, wipe } from "../../scripts/demo/sudden-death.ts";
import { startWorker, type WorkerExit, type WorkerProcess } from "../../scripts/dev/worker-process.ts";
import type { VersityGw } from "./versitygw.ts";
import { WorkerClient } from "./worker-client.ts";

const startBoundMs = 30_000;
const stopBoundMs = 30_000;
const killBoundMs = 10_000;
const keptLines = 20_000;

/** A line of the worker's log. */
export type LogLine = Readonly<Record<string, unknown>>;

/** What the lives of one worker share: the store, the data folder, the secrets. */
export class WorkerPlace {
  readonly folder: string;
  readonly dataFolder: string;
  readonly tokenSecret = randomBytes(32).toString("base64");
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly #lives: WorkerLife[] = [];

  private constructor(folder: string, environment: Readonly<Record<string, string | undefined>>) {
    this.folder = folder;
    this.dataFolder = join(folder, "data");
    this.environment = {
      ...withoutOwnSettings(process.env),
      PORT: "0",
      HOLDFAST_LITESTREAM: process.env["HOLDFAST_LITESTREAM"],
      HOLDFAST_DATA: this.dataFolder,
      HOLDFAST_TOKEN_SECRET: this.tokenSecret,
      HOLDFAST_MASTER_KEY: randomBytes(32).toString("base64"),
      HOLDFAST_AGENTS: join(import.meta.dirname, "../crash/agents"),
      ...environment,
    };
  }

  static async open(environment: Readonly<Record<string, string | undefined>>): Promise<WorkerPlace> {
    return new WorkerPlace(await mkdtemp(join(tmpdir(), "holdfast-worker-")), environment);
  }

  /** Starts a worker without waiting for anything. `environment` goes before the place's own. */
  launch(
    environment: Readonly<Record<string, string | undefined>> = {},
    script = "app/main.ts",
    flags: readonly string[] = [],
  ): WorkerLife {
    const options = { script, flags, environment: { ...this.environment, ...environment } };
    const life = new WorkerLife(options, this);
    this.#lives.push(life);
    return life;
  }

  /** Starts a worker and resolves when it listens; throws with its log's end if it does not. */
  async start(
    environment: Readonly<Record<string, string | undefined>> = {},
    script = "app/main.ts",
  ): Promise<WorkerLife> {
    const life = this.launch(environment, script);
    await life.first("listening");
    return life;
  }

  /** Deletes the worker's local files, as a lost Machine would. */
  async wipe(): Promise<void> {
    await wipe(this.dataFolder);
  }

  async close(): Promise<void> {
    for (const life of this.#lives) await life.killHard();
    await removeSocketFolder(locateLitestreamSocket(this.dataFolder));
    await rm(this.folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 50 });
  }
}

/** One life of the real worker in a process of its own. */
export class WorkerLife {
  readonly #place: WorkerPlace;
  readonly #process: WorkerProcess;
  readonly #log: LogLine[] = [];
  /** What it said that is no line of its log. */
  readonly plainLines: string[] = [];
  #exit: WorkerExit | null = null;

  constructor(
    options: {
      readonly script: string;
      readonly flags: readonly string[];
      readonly environment: NodeJS.ProcessEnv;
    },
    place: WorkerPlace,
  ) {
    this.#place = place;
    this.#process = startWorker({ ...options, onLine: (line) => this.#keep(line) });
    void this.#process.exited.then((exit) => (this.#exit = exit));
  }

  get pid(): number {
    return this.#process.pid;
  }

  get exited(): Promise<WorkerExit> {
    return this.#process.exited;
  }

  get log(): readonly LogLine[] {
    return this.#log;
  }

  events(name: string): readonly LogLine[] {
    return this.#log.filter(({ event }) => event === name);
  }

  /** The first line of that event; throws with the log's end if the worker ends or takes too long before. */
  async first(name: string): Promise<LogLine> {
    const deadline = performance.now() + startBoundMs;
    for (;;) {
      const [found] = this.events(name);
      if (found !== undefined) return found;
      if (this.#exit !== null || performance.now() > deadline)
        throw new Error(`The worker did not tell "${name}". ${this.describe()}`);
      await sleep(5);
    }
  }

  get url(): string {
    const [listening] = this.events("listening");
    if (listening === undefined) throw new Error(`The worker does not listen. ${this.describe()}`);
    return `http://127.0.0.1:${Number(listening["port"])}`;
  }

  client(tenantId: string): Promise<WorkerClient> {
    return WorkerClient.for({ url: this.url, tenantId, tokenSecret: this.#place.tokenSecret });
  }

  /** The samples of `/metrics` by what stands before their value, such as `holdfast_runs{status="queued"}`. */
  async metrics(): Promise<ReadonlyMap<string, number>> {
    const answer = await fetch(`${this.url}/metrics`, { signal: AbortSignal.timeout(10_000) });
    const lines = (await answer.text()).split("\n").filter((line) => line !== "" && !line.startsWith("#"));
    return new Map(lines.map((line) => split(line)));
  }

  /** The process ids of Litestream: the one that replicates, and restores that are under way. */
  litestreams(): readonly number[] {
    return childrenOf(this.pid);
  }

  /** SIGKILL to the worker and everything it has started, all at the same instant; resolves when all are gone. */
  async killHard(): Promise<void> {
    await killAtOnce([this.pid, ...this.litestreams()], killBoundMs);
    await this.exited;
  }

  /** SIGTERM; gives the exit code, null if it had to be killed. */
  async stop(): Promise<number | null> {
    return (await this.#process.stop(stopBoundMs)).code;
  }

  /** How it ended, if it did, and what it said last. */
  describe(): string {
    const end = this.#exit === null ? "It lives" : `It ended with ${JSON.stringify(this.#exit)}`;
    const last = [...this.plainLines, ...this.#log.slice(-15).map((line) => JSON.stringify(line))];
    return `${end}. Its output ends so:\n${last.join("\n")}`;
  }

  #keep(line: string): void {
    const parsed = parseLine(line);
    if (parsed === undefined) this.plainLines.push(line);
    else if (this.#log.push(parsed) > keptLines) this.#log.shift();
  }
}

/** What a worker needs to keep its tenants on that server. */
export function storeEnvironment(store: VersityGw, prefix: string): Record<string, string> {
  return {
    HOLDFAST_STORE: store.storeUrl(prefix),
    AWS_ACCESS_KEY_ID: store.credentials.accessKeyId,
    AWS_SECRET_ACCESS_KEY: store.credentials.secretAccessKey,
  };
}

/** Children of the main thread, which is the one that starts Litestream. Empty once the process is gone. */
function childrenOf(pid: number): readonly number[] {
  try {
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim();
    return children === "" ? [] : children.split(" ").map(Number);
  } catch {
    return [];
  }
}

/** The environment of whoever runs the tests must not reach the worker under test. */
function withoutOwnSettings(environment: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const foreign =
    /^(HOLDFAST_|AWS_(?!CA_BUNDLE)|FLY_|BUCKET_NAME$|NODE_ENV$|NODE_OPTIONS$|VITEST|DIGEST_DIR$|REFUND_URL$)/;
  return Object.fromEntries(Object.entries(environment).filter(([name]) => !foreign.test(name)));
}

function split(line: string): [string, number] {
  const space = line.lastIndexOf(" ");
  return [line.slice(0, space), Number(line.slice(space + 1))];
}

function parseLine(line: string): LogLine | undefined {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === "object" && value !== null ? (value as LogLine) : undefined;
  } catch {
    return undefined;
  }
}
