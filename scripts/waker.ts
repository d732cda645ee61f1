/** Calls the app when work is due, so that it may sleep meanwhile: a process of its own, or `--once` from any cron. */
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { pino } from "pino";
import { loadWakerConfig } from "../app/config/waker.ts";
import { openStore } from "../app/storage/open-store.ts";
import { callWake } from "../app/waker/wake-call.ts";
import { Waker } from "../app/waker/waker.ts";

const help = `node scripts/waker.ts [--once]

Looks every minute (HOLDFAST_WAKE_EVERY) whether work of some tenant is due in the store, and calls POST /v1/wake of the app
then (HOLDFAST_WAKE_URL; on Fly by default https://APP.fly.dev). Reads the worker's settings of the store and HOLDFAST_TOKEN_SECRET.

  --once   look once, for a cron: exits 0 if nothing was due or the app was called for it, 1 else
  --help   this text`;

const callTimeoutMs = 55_000;

const { values: flags } = parseArgs({ options: { once: { type: "boolean" }, help: { type: "boolean" } } });
if (flags.help === true) {
  console.log(help);
} else {
  try {
    await main(flags.once === true);
  } catch (error) {
    process.stderr.write(`holdfast: ${error instanceof Error ? error.message : String(error)}\n`);
    process.exit(1);
  }
}

async function main(once: boolean): Promise<void> {
  const config = loadWakerConfig(process.env);
  const [tokenSecret = ""] = config.tokenSecrets;
  const store = openStore(config.store.url, config.store.settings);
  const log = pino({ level: config.logLevel, base: null });
  const { signal: never } = new AbortController();
  // Nothing that it does needs an end: what it has called for goes on without it.
  for (const signal of ["SIGTERM", "SIGINT"] as const) process.once(signal, () => process.exit(once ? 1 : 0));
  const waker = new Waker({
    store,
    log,
    everyMs: config.everyMs,
    now: Date.now,
    call: (signal) => callWake({ url: config.url, tokenSecret, timeoutMs: callTimeoutMs, signal }),
    sleep: (ms, signal) => sleep(ms, undefined, { signal }).catch(() => {}),
  });
  if (once) process.exit((await waker.look(never)) ? 0 : 1);
  log.info(
    { event: "waking", url: config.url, everyMs: config.everyMs, store: store.description },
    "looking for what is due",
  );
  await waker.run(never);
}
