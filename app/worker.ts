import type { Logger } from "pino";
import { configureDigest } from "./agents/digest/settings.ts";
import { configureRefund } from "./agents/refund/settings.ts";
import type { Config } from "./config.ts";
import type { Agent } from "./engine/agent.ts";
import { loadAgents } from "./host/agents.ts";
import { standstillLimitMs, Watchdog } from "./host/watchdog.ts";
import { WorkerHost } from "./host/worker-host.ts";
import { createApp } from "./http/app.ts";
import { Forwarder } from "./http/forward.ts";
import { LostHolders } from "./http/lost-holders.ts";
import { LaterMetrics } from "./http/later-metrics.ts";
import type { RequestMetrics } from "./http/metrics.ts";
import { serveApp } from "./http/server.ts";
import { routes } from "./routes.ts";
import { FolderFiles } from "./storage/folder-files.ts";
import { systemHostClock } from "./storage/host-clock.ts";
import type { HostStorage } from "./storage/host-storage.ts";
import { HostSweep } from "./storage/host-sweep.ts";
import { restoreReplica } from "./storage/litestream-restore.ts";
import { Peers } from "./storage/peers.ts";
import { PruningWatch } from "./storage/pruning-watch.ts";
import { connectTenant } from "./storage/tenant-file.ts";

const restoreWithinMs = 10 * 60_000;
const housekeepingMs = 5_000;
/** What counts is a seventh of all modules, and no answer needs it. */
const metricsAfterMs = 1_000;
/** Requests that wait when the server closes get so long to be answered. */
const httpGraceMs = 2_000;

export interface WorkerOptions {
  readonly config: Config;
  readonly log: Logger;
  /** What Litestream inherits, credentials of the store among it. */
  readonly environment: NodeJS.ProcessEnv;
  /** May still be on its way: agents are loaded meanwhile. */
  readonly storage: Promise<HostStorage>;
  /** Told once, after everything was dropped: the process should end, since another host may have taken over. */
  readonly onFenced: () => void;
  /** Told once, when there is nothing to stay for: the worker should be stopped. By default it stays. */
  readonly onIdle?: () => void;
  /** After so long without a turn of the event loop the process is ended; 10 s by default. */
  readonly standstillMs?: number;
}

export interface Worker {
  readonly port: number;
  /** Leaves a note of the run that an exception came from which nobody caught. The process must end then, at once. */
  reportUncaught(error: unknown): void;
  /** Lets every tenant go, answers what waits, and ends Litestream. */
  stop(): Promise<void>;
}

/** Puts the parts together, up to the listening server. Throws an error fit for one line to a person; nothing is left then. */
export async function startWorker(options: WorkerOptions): Promise<Worker> {
  const { config, storage } = options;
  const [agents, opened] = await Promise.allSettled([loadAgents(config.agentsFolder), storage]);
  if (opened.status === "rejected") throw opened.reason;
  try {
    if (agents.status === "rejected") throw agents.reason;
    return await serve(agents.value, opened.value, options);
  } catch (error) {
    await opened.value.giveUp();
    throw error;
  }
}

async function serve(
  agents: ReadonlyMap<string, Agent>,
  { store, hostRecord, litestream, binary, bootId, leftBehind, onFenced: whenFenced }: HostStorage,
  { config, log, environment, onFenced, onIdle = () => {}, standstillMs = standstillLimitMs }: WorkerOptions,
): Promise<Worker> {
  configureDigest({ folder: config.digestFolder });
  configureRefund({ url: config.refundUrl });
  if (config.masterKeys.length === 0)
    log.warn("HOLDFAST_MASTER_KEY is not set: recorded values stay readable to whoever can read the store");
  const { store: storeConfig, dataFolder } = config;
  const watchdog = new Watchdog({ limitMs: standstillMs, store: storeConfig, dataFolder, log });
  const peers = new Peers(store, hostRecord.identity.id, systemHostClock);
  const host = new WorkerHost({
    agents,
    guard: (tenantId) => watchdog.guard(tenantId),
    durability: config.durability,
    idleMs: config.idleMs,
    regionsStart: config.routing === "fly",
    releaseMs: config.releaseMs,
    maxOpen: config.maxOpen,
    maxDiskBytes: config.maxDiskBytes,
    exitIdleMs: config.exitIdleMs,
    onIdle,
    log,
    storage: {
      store,
      litestream,
      hostRecord,
      peers,
      files: new FolderFiles(config.dataFolder),
      dataFolder: config.dataFolder,
      bootId,
      connect: connectTenant,
      masterKeys: config.masterKeys,
      restore: (source) =>
        restoreReplica({ ...source, binary, environment, log, timeoutMs: restoreWithinMs }),
      onLocalLoss: (tenant, why) =>
        log.warn(
          { event: "tenant.local-loss", tenant, why },
          "a local file is not whole; its replica is used",
        ),
      onSnapshotLoss: (tenant, why) =>
        log.warn({ event: "tenant.snapshot-loss", tenant, why }, "a snapshot of a tenant is of no use"),
      now: Date.now,
    },
  });
  whenFenced(() => {
    host.fence();
    void litestream.stop().finally(onFenced);
  });
  void host.takeUp(leftBehind);
  const pruning = new PruningWatch({
    store,
    historyMs: config.historyMs,
    records: () => host.openTenants().map(({ file }) => file.record),
    log,
    now: Date.now,
  });
  const ownId = hostRecord.identity.id;
  const sweep = new HostSweep({ store, peers, clock: systemHostClock, ownId, log });
  const housekeeping = setInterval(() => {
    void pruning.look();
    void sweep.look();
  }, housekeepingMs);
  const metrics = new LaterMetrics(() => loadMetrics(host), { afterMs: metricsAfterMs });
  const { routing, tokenSecrets } = config;
  const forwarder = new Forwarder(new LostHolders(host));
  const app = createApp({ host, routing, tokenSecrets, metrics, log, routes, forwarder });
  const server = await serveApp(app, config.port);
  log.info({ event: "listening", port: server.port, host: host.id, store: store.description }, "listening");
  return {
    port: server.port,
    reportUncaught: (error) => watchdog.reportUncaught(error),
    async stop() {
      clearInterval(housekeeping);
      await Promise.all([host.drain(), sweep.stop()]);
      const cutOff = setTimeout(() => forwarder.stop(), httpGraceMs / 2);
      await server.close(httpGraceMs);
      clearTimeout(cutOff);
      await litestream.stop();
      await watchdog.stop();
    },
  };
}

async function loadMetrics(host: WorkerHost): Promise<RequestMetrics> {
  const [{ createMetrics }, { registerHostMetrics }] = await Promise.all([
    import("./http/metrics.ts"),
    import("./host/host-metrics.ts"),
  ]);
  const metrics = createMetrics();
  metrics.readReplicationLag(() => host.replicationLagMs() / 1_000);
  registerHostMetrics(host, metrics.registry);
  return metrics;
}
