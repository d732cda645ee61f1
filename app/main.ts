import { randomUUID } from "node:crypto";
import { join } from "node:path";
import { pino, type Logger } from "pino";
import { configureDigest } from "./agents/digest/settings.ts";
import { loadConfig, type Config } from "./config.ts";
import { loadAgents } from "./host/agents.ts";
import { registerHostMetrics } from "./host/host-metrics.ts";
import { WorkerHost } from "./host/worker-host.ts";
import { createApp } from "./http/app.ts";
import { createMetrics } from "./http/metrics.ts";
import { serveApp } from "./http/server.ts";
import { lockDataFolder, readBootId } from "./storage/data-folder.ts";
import { OwnHostRecord } from "./storage/host-record.ts";
import { superviseLitestream } from "./storage/litestream.ts";
import { findLitestream } from "./storage/litestream-binary.ts";
import { restoreReplica } from "./storage/litestream-restore.ts";
import type { ObjectStore } from "./storage/object-store.ts";
import { openStore } from "./storage/open-store.ts";
import { probeStore } from "./storage/store-probe.ts";

const projectRoot = join(import.meta.dirname, "..");
const exitCodes = { misconfigured: 1, fenced: 3 } as const;
/** A store that has not answered by then is unreachable. */
const storeWithinMs = 10_000;
const restoreWithinMs = 10 * 60_000;
/** A drain that takes longer than this is cut off; `kill_timeout` in fly.toml is longer. */
const drainWithinMs = 25_000;
const httpGraceMs = 2_000;

await main().catch((error: unknown) => {
  process.stderr.write(`${startupMessage(error)}\n`);
  process.exit(exitCodes.misconfigured);
});

/** Starts everything in order; a signal undoes it in reverse. */
async function main(): Promise<void> {
  const config = loadConfig(process.env);
  const log = createLog(config);
  const agents = await loadAgents(config.agentsFolder);
  configureDigest({ folder: config.digestFolder });
  const binary = findLitestream(config.litestream ?? undefined, projectRoot);
  await lockDataFolder(config.dataFolder);
  const store = openStore(config.store.url, config.store.settings);
  await reachStore(store);
  if (config.masterKeys.length === 0)
    log.warn("HOLDFAST_MASTER_KEY is not set: recorded values stay readable to whoever can read the store");

  let endFenced = (): void => process.exit(exitCodes.fenced);
  const hostRecord = await OwnHostRecord.create(store, identityOf(config), log, (why) => {
    log.fatal({ event: "fenced" }, `this host was fenced: ${why}`);
    endFenced();
  });
  const litestream = await superviseLitestream({
    binary,
    configPath: join(projectRoot, "litestream.yml"),
    dataFolder: config.dataFolder,
    environment: process.env,
    log,
  });
  const host = new WorkerHost({
    agents,
    durability: config.durability,
    idleMs: config.idleMs,
    log,
    storage: {
      store,
      litestream,
      hostRecord,
      dataFolder: config.dataFolder,
      bootId: await readBootId(),
      masterKeys: config.masterKeys,
      restore: (source) =>
        restoreReplica({ ...source, binary, environment: process.env, log, timeoutMs: restoreWithinMs }),
      now: Date.now,
    },
  });
  endFenced = () => {
    host.fence();
    void litestream.stop().finally(() => process.exit(exitCodes.fenced));
  };
  const metrics = createMetrics();
  metrics.readReplicationLag(() => host.replicationLagMs() / 1_000);
  registerHostMetrics(host, metrics.registry);
  const server = await serveApp(
    createApp({ host, tokenSecrets: config.tokenSecrets, metrics, log }),
    config.port,
  );
  log.info({ event: "listening", port: server.port, host: host.id, store: store.description }, "listening");

  const stop = stopOnce(log, async () => {
    await host.drain();
    await server.close(httpGraceMs);
    await litestream.stop();
  });
  process.on("SIGINT", stop);
  process.on("SIGTERM", stop);
}

function createLog(config: Config): Logger {
  const options = { level: config.logLevel, base: null };
  if (!process.stdout.isTTY) return pino(options);
  return pino({
    ...options,
    transport: { target: "pino-pretty", options: { ignore: "event", singleLine: true } },
  });
}

function identityOf(config: Config) {
  return {
    id: randomUUID(),
    machine: config.machine,
    address: config.advertise,
    region: config.region,
    ttlMs: config.hostTtlMs,
  };
}

/** Throws with one line for a person when the store does not answer or is not fit. */
async function reachStore(store: ObjectStore): Promise<void> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(
    () => late.reject(new Error(`it did not answer within ${storeWithinMs / 1_000} s`)),
    storeWithinMs,
  );
  try {
    await Promise.race([probeStore(store), late.promise]);
  } catch (error) {
    throw new Error(
      `The store ${store.description} (HOLDFAST_STORE) cannot be used: ${(error as Error).message}`,
      {
        cause: error,
      },
    );
  } finally {
    clearTimeout(timer);
  }
}

/** The first signal drains and exits 0; a second one, or a drain that takes too long, exits at once. */
function stopOnce(log: Logger, drain: () => Promise<void>): (signal: NodeJS.Signals) => void {
  let stopping = false;
  return (signal) => {
    if (stopping) process.exit(1);
    stopping = true;
    log.info({ event: "draining", signal }, "draining");
    setTimeout(() => {
      log.error("the drain took too long; what was not released is restored by the next host");
      process.exit(1);
    }, drainWithinMs).unref();
    drain().then(
      () => {
        log.info({ event: "stopped" }, "stopped");
        process.exit(0);
      },
      (error: unknown) => {
        log.error({ err: error }, "the drain failed; what was not released is restored by the next host");
        process.exit(1);
      },
    );
  };
}

/** What stands before the start fails is the operator's to mend: one line, no stack. */
function startupMessage(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return process.env["HOLDFAST_LOG"] === "debug"
    ? (error.stack ?? error.message)
    : `holdfast: ${error.message}`;
}
