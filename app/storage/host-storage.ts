import { randomUUID } from "node:crypto";
import { join } from "node:path";
import { lockDataFolder, readBootId, unreleasedTenants } from "./data-folder.ts";
import { OwnHostRecord, type HostRecordLog } from "./host-record.ts";
import { locateLitestream } from "./litestream-binary.ts";
import type { Logger } from "./litestream-log.ts";
import type { Litestream, superviseLitestream } from "./litestream.ts";
import type { ObjectStore } from "./object-store.ts";
import { openStore, type StoreSettings } from "./open-store.ts";
import { probeStore } from "./store-probe.ts";

const projectRoot = join(import.meta.dirname, "../..");
/** A store that has not answered by then is unreachable. */
const storeWithinMs = 10_000;

export interface HostStorageOptions {
  readonly config: HostStorageConfig;
  /** What Litestream inherits, credentials of the store among it. */
  readonly environment: NodeJS.ProcessEnv;
  /** Starts the replicator; all others speak to it by its port only. */
  readonly supervise: typeof superviseLitestream;
  readonly log: Logger & HostRecordLog & FenceLog;
  /** Called when Litestream was started and the store was asked: from then on this process can do something else. */
  readonly onWaiting?: () => void;
}

/** What it needs of the worker's settings. */
export interface HostStorageConfig {
  readonly store: { readonly url: string; readonly settings: StoreSettings };
  readonly dataFolder: string;
  /** Null: the one that set-up has found. */
  readonly litestream: string | null;
  readonly machine: string;
  readonly advertise: string;
  readonly region: string;
  readonly hostTtlMs: number;
}

interface FenceLog {
  fatal(facts: Readonly<Record<string, unknown>>, message: string): void;
}

/** What a host stands on before it serves any tenant: the data folder is its own, the store knows it, Litestream runs. */
export interface HostStorage {
  readonly store: ObjectStore;
  readonly hostRecord: OwnHostRecord;
  readonly litestream: Litestream;
  readonly binary: string;
  readonly bootId: string | null;
  /** Tenants with a file that an earlier life had open when it was ended. */
  readonly leftBehind: readonly string[];
  /** Calls the listener at once when this host is fenced, or now if it was. There is one listener, the last. */
  readonly onFenced: (listener: () => void) => void;
  /** Leaves nothing behind: for a host that ends before it has served anybody. */
  readonly giveUp: () => Promise<void>;
}

/**
 * Locks the data folder, then starts Litestream, and asks the store while that comes up. Throws an error fit for one line to
 * a person, with nothing left running.
 */
export async function openHostStorage(options: HostStorageOptions): Promise<HostStorage> {
  const { config, environment, log } = options;
  const { dataFolder } = config;
  const binary = locateLitestream(config.litestream ?? undefined, projectRoot);
  const unlock = await lockDataFolder(dataFolder);
  const left = Promise.all([readBootId(), unreleasedTenants(dataFolder)]);
  left.catch(() => {});
  const configPath = join(projectRoot, "litestream.yml");
  const spawned = Promise.withResolvers<void>();
  const onSpawned = spawned.resolve;
  const starting = options.supervise({ binary, configPath, dataFolder, environment, log, onSpawned });
  // Its processor is not ours: the sooner it has it, the more of its start costs us nothing.
  await Promise.race([spawned.promise, starting.catch(() => {})]);
  const knowing = enterStore(options);
  options.onWaiting?.();
  const [started, known, found] = await Promise.allSettled([starting, knowing, left]);
  const giveUp = async (): Promise<void> => {
    if (started.status === "fulfilled") await started.value.stop();
    if (known.status === "fulfilled") await known.value.hostRecord.retire();
    unlock();
  };
  if (known.status === "rejected" || started.status === "rejected" || found.status === "rejected") {
    await giveUp();
    throw [known, started, found].find((one) => one.status === "rejected")?.reason;
  }
  const { store, hostRecord, onFenced } = known.value;
  const litestream = started.value;
  const [bootId, leftBehind] = found.value;
  return {
    store,
    hostRecord,
    litestream,
    binary,
    bootId,
    leftBehind,
    onFenced,
    giveUp,
  };
}

/** The record is made once the store is known to be fit for it. */
async function enterStore({
  config,
  log,
}: HostStorageOptions): Promise<Pick<HostStorage, "store" | "hostRecord" | "onFenced">> {
  const { machine, advertise: address, region, hostTtlMs: ttlMs } = config;
  const identity = { id: randomUUID(), machine, address, region, ttlMs };
  const store = openStore(config.store.url, config.store.settings);
  await reachStore(store);
  let fenced = false;
  let tell = (): void => {};
  const hostRecord = await OwnHostRecord.create(store, identity, log, (why) => {
    log.fatal({ event: "fenced" }, `this host was fenced: ${why}`);
    fenced = true;
    tell();
  });
  const onFenced = (listener: () => void): void => {
    tell = listener;
    if (fenced) listener();
  };
  return { store, hostRecord, onFenced };
}

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
      { cause: error },
    );
  } finally {
    clearTimeout(timer);
  }
}
