import { pino } from "pino";
import { loadConfig } from "../../app/config.ts";
import { openHostStorage } from "../../app/storage/host-storage.ts";
import { superviseLitestream } from "../../app/storage/litestream.ts";
import { startWorker } from "../../app/worker.ts";

// The worker with a watchdog that bites sooner.
const config = loadConfig(process.env);
const log = pino({ level: config.logLevel, base: null });
const environment = process.env;
const worker = await startWorker({
  config,
  log,
  environment,
  storage: openHostStorage({ config, environment, supervise: superviseLitestream, log }),
  onFenced: () => process.exit(3),
  standstillMs: 3_000,
});
process.on("SIGTERM", () => void worker.stop().then(() => process.exit(0)));
