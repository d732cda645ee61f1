import { pino } from "pino";
import { loadConfig } from "../../app/config.ts";
import { superviseLitestream } from "../../app/storage/litestream.ts";
import { startWorker } from "../../app/worker.ts";

// The worker with a watchdog that bites sooner.
const config = loadConfig(process.env);
const worker = await startWorker({
  config,
  log: pino({ level: config.logLevel, base: null }),
  environment: process.env,
  supervise: superviseLitestream,
  onFenced: () => process.exit(3),
  standstillMs: 3_000,
});
process.on("SIGTERM", () => void worker.stop().then(() => process.exit(0)));
