import { randomBytes } from "node:crypto";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { childrenOf } from "../demo/sudden-death.ts";
import { beginLife, type WorkerLife } from "../demo/worker-life.ts";
import type { CpuProfile } from "./profile.ts";
import type { StoreAccess } from "./store-floor.ts";

const compiledFolder = join(import.meta.dirname, "../../node_modules/.cache/holdfast");
const startWithinMs = 30_000;
const stopWithinMs = 40_000;

/** The real worker in a process of its own, for one stretch of the bench. */
export interface BenchWorker {
  readonly url: string;
  readonly tokenSecret: string;
  /** As `performance.now()` was when its process was about to be started. */
  readonly spawnedAt: number;
  /** What its log has told up to now, oldest first. */
  readonly events: WorkerLife["events"];
  /** Who shares the processor: the worker and its Litestream. */
  readonly pids: { readonly worker: number; readonly litestream: number | undefined };
  /** Ends it and removes its files; gives its profile if it was asked for. */
  stop(): Promise<CpuProfile | undefined>;
}

/** What workers on one store must have in common. */
export interface BenchSecrets {
  readonly tokenSecret: string;
  readonly masterKey: string;
}

export interface BenchWorkerOptions {
  readonly profile?: boolean;
  /** By default nobody else's. */
  readonly secrets?: BenchSecrets;
  /** Settings that are not the defaults. */
  readonly environment?: Readonly<Record<string, string>>;
}

export function newSecrets(): BenchSecrets {
  return {
    tokenSecret: randomBytes(32).toString("base64"),
    masterKey: randomBytes(32).toString("base64"),
  };
}

/** Starts a worker with an empty data folder on that store; resolves when it listens. */
export async function startBenchWorker(
  store: StoreAccess,
  { profile = false, secrets = newSecrets(), environment = {} }: BenchWorkerOptions = {},
): Promise<BenchWorker> {
  const folder = await mkdtemp(join(tmpdir(), "holdfast-bench-worker-"));
  const { tokenSecret, masterKey } = secrets;
  const profileFolder = join(folder, "profile");
  const spawnedAt = performance.now();
  const life = beginLife({
    script: "app/main.ts",
    logFile: join(folder, "worker.log"),
    environment: {
      ...withoutSettings(process.env),
      // Where the worker keeps compiled modules anyway; said so early, it holds for the first of them too, as in the image.
      NODE_COMPILE_CACHE: compiledFolder,
      PORT: "0",
      HOLDFAST_STORE: store.url,
      AWS_ACCESS_KEY_ID: store.credentials.accessKeyId,
      AWS_SECRET_ACCESS_KEY: store.credentials.secretAccessKey,
      HOLDFAST_DATA: join(folder, "data"),
      HOLDFAST_AGENTS: join(import.meta.dirname, "agents"),
      HOLDFAST_TOKEN_SECRET: tokenSecret,
      HOLDFAST_MASTER_KEY: masterKey,
      ...(profile ? { NODE_OPTIONS: `--cpu-prof --cpu-prof-dir=${profileFolder}` } : {}),
      ...environment,
    },
  });
  const end = async (): Promise<void> => {
    await life.process.stop(stopWithinMs);
  };
  try {
    return {
      url: `http://127.0.0.1:${await portOf(life)}`,
      tokenSecret,
      spawnedAt,
      events: (name) => life.events(name),
      pids: { worker: life.process.pid, litestream: childrenOf(life.process.pid)[0] },
      async stop() {
        await end();
        const taken = profile ? await readLargest(profileFolder) : undefined;
        await rm(folder, { recursive: true, force: true });
        return taken;
      },
    };
  } catch (error) {
    await end();
    throw error;
  }
}

async function portOf(life: WorkerLife): Promise<number> {
  const { port } = await life.first("listening", startWithinMs);
  return Number(port);
}

/** The main thread's; threads that came and went have left smaller ones. */
async function readLargest(folder: string): Promise<CpuProfile> {
  const texts = await Promise.all(
    (await readdir(folder)).map((name) => readFile(join(folder, name), "utf8")),
  );
  const [largest] = texts.toSorted((a, b) => b.length - a.length);
  if (largest === undefined) throw new Error("The worker has left no profile.");
  return JSON.parse(largest) as CpuProfile;
}

/** Figures are of the defaults, whatever is set here. */
function withoutSettings(environment: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const foreign = /^(HOLDFAST_(?!LITESTREAM$)|AWS_|FLY_|BUCKET_NAME$|NODE_ENV$|NODE_OPTIONS$|VITEST|DIGEST_)/;
  return Object.fromEntries(Object.entries(environment).filter(([name]) => !foreign.test(name)));
}
