import { ConfigError, isHttpUrl, logLevels, quoted, Settings, type LogLevel } from "./settings.ts";
import { readStore, type StoreConfig } from "./store.ts";
import { readTokenSecrets } from "./token-secrets.ts";

export interface WakerConfig {
  readonly store: StoreConfig;
  /** The first signs the waker's tokens. */
  readonly tokenSecrets: readonly string[];
  /** Of the app, without a path of the API. */
  readonly url: string;
  readonly everyMs: number;
  readonly logLevel: LogLevel;
}

/** What the waker needs of the environment; the worker's other settings are left alone. Throws ConfigError. */
export function loadWakerConfig(environment: NodeJS.ProcessEnv): WakerConfig {
  const settings = new Settings(environment);
  const config: WakerConfig = {
    store: readStore(settings),
    tokenSecrets: readTokenSecrets(settings),
    url: readUrl(settings),
    everyMs: settings.duration("HOLDFAST_WAKE_EVERY", { default: "60s", min: "1s", max: "1h" }),
    logLevel: settings.oneOf("HOLDFAST_LOG", logLevels, "info"),
  };
  if (settings.problems.length > 0) throw new ConfigError(settings.problems);
  return config;
}

/**
 * On Fly the app's public address: Fly's proxy starts a Machine there. A private app has none and is called by its Flycast
 * address, which must be allocated first and cannot redirect to HTTPS, so that is never assumed.
 */
function readUrl(settings: Settings): string {
  const name = "HOLDFAST_WAKE_URL";
  const app = settings.text("FLY_APP_NAME");
  const text = settings.text(name) ?? (app === undefined ? undefined : `https://${app}.fly.dev`);
  if (text === undefined) {
    settings.refuse(name, "is not set: it is the URL at which the app is called when work is due");
    return "";
  }
  if (isHttpUrl(text)) return text.replace(/\/+$/, "");
  settings.refuse(name, `must be the app's http(s) URL; it is ${quoted(text)}`, "https://APP.fly.dev");
  return text;
}
