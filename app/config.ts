import { hostname } from "node:os";
import path from "node:path";
import { ConfigError, isHttpUrl, logLevels, quoted, Settings, type LogLevel } from "./config/settings.ts";
import { readStore, type StoreConfig } from "./config/store.ts";
import { newSecret, readTokenSecrets } from "./config/token-secrets.ts";
import type { Durability } from "./engine/journal.ts";

export interface MasterKey {
  readonly id: string;
  /** 32 bytes. */
  readonly key: Uint8Array;
}

/** All folders are absolute. */
export interface Config {
  readonly production: boolean;
  /** 0: any free port. */
  readonly port: number;
  readonly store: StoreConfig;
  readonly dataFolder: string;
  readonly agentsFolder: string;
  readonly durability: Durability;
  /** One, or two while rotating: the first signs, all verify. */
  readonly tokenSecrets: readonly string[];
  /** The first wraps new keys, all unwrap. Empty: values stay clear. */
  readonly masterKeys: readonly MasterKey[];
  readonly advertise: string;
  readonly region: string;
  /** How requests for tenants of other hosts get there: Fly's proxy replays them, or this host is a reverse proxy to that one. */
  readonly routing: "fly" | "proxy";
  /** Which Machine this is, through restarts. */
  readonly machine: string;
  readonly hostTtlMs: number;
  /** A tenant that nobody has used for so long is parked. */
  readonly idleMs: number;
  /** Epochs that ended longer ago are deleted from the store. */
  readonly historyMs: number;
  /** A parked tenant that nobody has used for so long is given away. */
  readonly releaseMs: number;
  /** A host that nobody has asked for anything for so long, and that has nothing to do soon, ends; null: never. */
  readonly exitIdleMs: number | null;
  /** So many tenants may be open at a time. */
  readonly maxOpen: number;
  /** Bytes that the files of tenants may take on this Machine's disk; null: as many as there are. */
  readonly maxDiskBytes: number | null;
  /** null: the one that set-up has found. */
  readonly litestream: string | null;
  readonly logLevel: LogLevel;
  /** The documents of the example agent `digest`. */
  readonly digestFolder: string;
  /** The payment service of the example agent `refund`; null: it has none. */
  readonly refundUrl: string | null;
}

/** The only reader of the environment. Names that it does not know are left alone. Throws ConfigError. */
export function loadConfig(environment: NodeJS.ProcessEnv): Config {
  const settings = new Settings(environment);
  const port = settings.wholeNumber("PORT", { default: 8080, min: 0, max: 65_535 });
  const dataFolder = path.resolve(settings.text("HOLDFAST_DATA") ?? ".holdfast/data");
  const production = settings.text("NODE_ENV") === "production";
  const litestream = settings.text("HOLDFAST_LITESTREAM");
  const config: Config = {
    production,
    port,
    store: readStore(settings),
    dataFolder,
    agentsFolder: path.resolve(settings.text("HOLDFAST_AGENTS") ?? "app/agents"),
    durability: settings.oneOf("HOLDFAST_DURABILITY", ["replicated", "local"], "replicated"),
    tokenSecrets: readTokenSecrets(settings),
    masterKeys: readMasterKeys(settings, production),
    advertise: readAdvertise(settings, port),
    region: settings.text("HOLDFAST_REGION") ?? settings.text("FLY_REGION") ?? "local",
    routing: settings.onFly ? "fly" : "proxy",
    machine: settings.text("FLY_MACHINE_ID") ?? `${hostname()}:${dataFolder}`,
    hostTtlMs: settings.duration("HOLDFAST_HOST_TTL", { default: "15s", min: "500ms", max: "1h" }),
    idleMs: settings.duration("HOLDFAST_IDLE", { default: "30s", min: "0s", max: "30 days" }),
    historyMs: settings.duration("HOLDFAST_HISTORY", { default: "7 days", min: "0s", max: "10 years" }),
    releaseMs: settings.duration("HOLDFAST_RELEASE", { default: "10m", min: "0s", max: "30 days" }),
    exitIdleMs: settings.durationOrNever("HOLDFAST_EXIT_IDLE", { min: "1s", max: "30 days" }),
    maxOpen: settings.wholeNumber("HOLDFAST_MAX_OPEN", { default: 500, min: 1, max: 100_000 }),
    maxDiskBytes: settings.bytesOrUnlimited("HOLDFAST_MAX_DISK", "4GB"),
    litestream: litestream === undefined ? null : path.resolve(litestream),
    logLevel: settings.oneOf("HOLDFAST_LOG", logLevels, "info"),
    digestFolder: path.resolve(
      settings.text("DIGEST_DIR") ?? path.join(import.meta.dirname, "../node_modules"),
    ),
    refundUrl: readRefundUrl(settings),
  };
  if (settings.problems.length > 0) throw new ConfigError(settings.problems);
  return config;
}

function readMasterKeys(settings: Settings, production: boolean): readonly MasterKey[] {
  const name = "HOLDFAST_MASTER_KEY";
  const text = settings.text(name);
  if (text === undefined) {
    if (production)
      settings.refuse(
        name,
        "is not set, and is needed with NODE_ENV=production: it encrypts the tenants' keys. Make one by: openssl rand -base64 32",
        newSecret,
      );
    return [];
  }
  const pairs = text.split(",").map((pair) => pair.trim());
  const keys = pairs.map((pair) => readMasterKey(pair, pairs.length === 1));
  if (keys.some((key) => key === undefined)) {
    settings.refuse(
      name,
      "must be 32 bytes in base64, or `id:key` pairs of such, comma-separated",
      newSecret,
    );
    return [];
  }
  const complete = keys.filter((key) => key !== undefined);
  if (new Set(complete.map((key) => key.id)).size < complete.length)
    settings.refuse(name, "gives two keys the same id", `id2:${newSecret},id1:…`);
  return complete;
}

/** A key that stands alone needs no id; it is known as `default` once another one joins it. */
function readMasterKey(pair: string, alone: boolean): MasterKey | undefined {
  const match = /^(?:(?<id>[A-Za-z0-9._-]{1,64}):)?(?<key>[A-Za-z0-9+/_-]{43}=?)$/.exec(pair);
  const key = Buffer.from(match?.groups?.key ?? "", "base64");
  const id = match?.groups?.id ?? (alone ? "default" : undefined);
  return id === undefined || key.length !== 32 ? undefined : { id, key };
}

function readAdvertise(settings: Settings, port: number): string {
  const name = "HOLDFAST_ADVERTISE";
  const flyAddress = settings.text("FLY_PRIVATE_IP");
  const text =
    settings.text(name) ?? `http://${flyAddress === undefined ? "127.0.0.1" : `[${flyAddress}]`}:${port}`;
  if (isHttpUrl(text)) return text.replace(/\/+$/, "");
  settings.refuse(name, `must be an http(s) URL by which other hosts reach this one; it is ${quoted(text)}`);
  return text;
}

function readRefundUrl(settings: Settings): string | null {
  const name = "REFUND_URL";
  const text = settings.text(name);
  if (text === undefined) return null;
  if (isHttpUrl(text)) return text;
  settings.refuse(
    name,
    "must be the http(s) URL of the service that pays refunds, without credentials in it",
  );
  return null;
}
