import { pino } from "pino";
import { loadConfig } from "../../app/config.ts";
import { openHostStorage } from "../../app/storage/host-storage.ts";
import { superviseLitestream, type Litestream } from "../../app/storage/litestream.ts";
import { startWorker } from "../../app/worker.ts";

// The worker with a gate that resolves at once: a sync is answered before anything is shipped, which Litestream does all
// the same in its own time. What this one acknowledges can be lost, and the drill must notice.
const config = loadConfig(process.env);
const log = pino({ level: config.logLevel, base: null });
const worker = await startWorker({
  config,
  log,
  environment: process.env,
  storage: openHostStorage({
    config,
    environment: process.env,
    supervise: async (options) => ungated(await superviseLitestream(options)),
    log,
  }),
  onFenced: () => process.exit(3),
});
process.on("SIGTERM", () => void worker.stop().then(() => process.exit(0)));

function ungated(litestream: Litestream): Litestream {
  let txid = 0;
  const { control } = litestream;
  return {
    control: {
      ...control,
      sync: async () => {
        txid += 1;
        return { txid, replicatedTxid: txid };
      },
    },
    get state() {
      return litestream.state;
    },
    get life() {
      return litestream.life;
    },
    onRestart: (listener) => litestream.onRestart(listener),
    ready: (timeoutMs) => litestream.ready(timeoutMs),
    stop: () => litestream.stop(),
  };
}
