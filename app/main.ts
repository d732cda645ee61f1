import { setImmediate as turn } from "node:timers/promises";
import type { Logger } from "pino";
import type { Config } from "./config.ts";
import { loadQuickly } from "./quick-loading.ts";
import type { HostStorage, HostStorageOptions } from "./storage/host-storage.ts";
import type { startWorker } from "./worker.ts";

// Everything else is imported after this.
loadQuickly();

const exitCodes = { done: 0, failed: 1, fenced: 3 } as const;
/** A drain that takes longer than this is cut off; `kill_timeout` in fly.toml is longer. */
const drainWithinMs = 25_000;

try {
  await main();
} catch (error) {
  process.stderr.write(`${lineFor(error)}\n`);
  process.exit(exitCodes.failed);
}

/** Starts the worker; SIGINT and SIGTERM undo it in reverse. */
async function main(): Promise<void> {
  const environment = process.env;
  const { loadConfig } = await import("./config.ts");
  const config = loadConfig(environment);
  const log = await createLog(config);
  // An agent's promise that nobody awaits must not end every tenant's host.
  process.on("unhandledRejection", (error) =>
    log.error({ err: error }, "a promise was rejected that nobody awaited"),
  );
  const onFenced = (): void => process.exit(exitCodes.fenced);
  let stopping = false;
  // One that comes before there is a worker is heeded as soon as there is something to undo.
  let early: NodeJS.Signals | null = null;
  let stop = (signal: NodeJS.Signals): void => {
    if (early !== null) process.exit(exitCodes.failed);
    early = signal;
  };
  process.on("SIGINT", (signal) => stop(signal));
  process.on("SIGTERM", (signal) => stop(signal));
  const drain = (why: object): void => {
    stopping = true;
    log.info({ event: "draining", ...why }, "draining");
    void stopWithin(log, () => worker.stop()).then((code) => process.exit(code));
  };
  const waiting = Promise.withResolvers<void>();
  const storage = openStorage({ config, log, environment, onWaiting: waiting.resolve });
  // Litestream starts, and the store is asked, while what serves is loaded; whoever awaits it learns of its failure.
  await Promise.race([waiting.promise, storage.catch(() => {})]);
  const startWorker = await loadWorker().catch(async (error: unknown) => {
    // A mistake in app/routes.ts, say: no record stays behind that says this host lives.
    await storage.then(({ giveUp }) => giveUp()).catch(() => {});
    throw error;
  });
  if (early !== null) {
    log.info({ event: "stopped", signal: early }, "stopped before it served anything");
    await storage.then(({ giveUp }) => giveUp());
    process.exit(exitCodes.done);
  }
  const onIdle = (): void => {
    if (!stopping) drain({ idleMs: config.exitIdleMs });
  };
  const worker = await startWorker({ config, log, environment, storage, onFenced, onIdle });
  stop = (signal) => {
    if (stopping) process.exit(exitCodes.failed);
    drain({ signal });
  };
  // What an agent throws in a timer or a callback reaches nobody, and leaves half-done what it was thrown out of.
  process.on("uncaughtException", (error) => {
    worker.reportUncaught(error);
    process.exit(exitCodes.failed);
  });
  if (early !== null) stop(early);
}

async function openStorage(options: Omit<HostStorageOptions, "supervise">): Promise<HostStorage> {
  const [{ openHostStorage }, { superviseLitestream }] = await Promise.all([
    import("./storage/host-storage.ts"),
    import("./storage/litestream.ts"),
  ]);
  return await openHostStorage({ ...options, supervise: superviseLitestream });
}

/**
 * Part by part, with turns of the event loop in between, in which what the store and Litestream have answered is taken up:
 * a module and all that it imports are loaded in one go.
 */
async function loadWorker(): Promise<typeof startWorker> {
  const parts = [
    () => turn(),
    () => import("./http/server.ts"),
    () => import("./http/app.ts"),
    () => import("../db/connect.ts"),
    () => import("./host/worker-host.ts"),
  ];
  for (const load of parts) {
    await load();
    await turn();
  }
  return (await import("./worker.ts")).startWorker;
}

async function createLog(config: Config): Promise<Logger> {
  const { pino } = await import("pino");
  const options = { level: config.logLevel, base: null };
  if (!process.stdout.isTTY) return pino(options);
  const target = "pino-pretty";
  return pino({ ...options, transport: { target, options: { ignore: "event", singleLine: true } } });
}

/** Gives the exit code. What could not be released keeps its claim, and the next start goes on from it. */
async function stopWithin(log: Logger, stop: () => Promise<void>): Promise<number> {
  const late = Promise.withResolvers<never>();
  setTimeout(() => late.reject(new Error(`it took longer than ${drainWithinMs} ms`)), drainWithinMs).unref();
  try {
    await Promise.race([stop(), late.promise]);
    log.info({ event: "stopped" }, "stopped");
    return exitCodes.done;
  } catch (error) {
    log.error({ err: error }, "the drain failed; what was not released goes on at the next start");
    return exitCodes.failed;
  }
}

/** What keeps the worker from starting is the operator's to mend: one line, no stack. */
function lineFor(error: unknown): string {
  return `holdfast: ${error instanceof Error ? error.message : String(error)}`;
}
