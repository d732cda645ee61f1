import { openStore, StoreSettingError, type StoreSettings } from "../storage/open-store.ts";
import type { Settings } from "./settings.ts";

/** What `openStore` takes. The URL holds no secret. */
export interface StoreConfig {
  readonly url: string;
  readonly settings: StoreSettings;
}

/** What HOLDFAST_STORE says, else the bucket that `fly storage create` has set, else a local folder. */
export function readStore(settings: Settings): StoreConfig {
  const named = settings.text("HOLDFAST_STORE");
  const bucket = settings.text("BUCKET_NAME");
  // A Machine's disk is fresh after a stop, so the default would lose everything that was acknowledged.
  if (named === undefined && bucket === undefined && settings.onFly)
    settings.refuse(
      "HOLDFAST_STORE",
      "is not set. Run `fly storage create`, or name a bucket",
      "s3://BUCKET/PREFIX?endpoint=URL",
    );
  const url = named ?? (bucket === undefined ? "file:.holdfast/store" : `s3://${bucket}`);
  const store: StoreConfig = {
    url: withEndpoint(url, settings),
    settings: {
      baseDir: process.cwd(),
      region: settings.text("AWS_REGION") ?? settings.text("AWS_DEFAULT_REGION"),
      credentials: url.startsWith("s3:") ? readCredentials(settings) : undefined,
    },
  };
  try {
    openStore(store.url, store.settings);
  } catch (error) {
    if (!(error instanceof StoreSettingError)) throw error;
    const why = error.message.replace(/^HOLDFAST_STORE: /, "").replace(/\.$/, "");
    settings.refuse(named === undefined ? "BUCKET_NAME" : "HOLDFAST_STORE", `is not usable: ${why}`);
  }
  return store;
}

/** An endpoint in the URL wins over the one that the platform has set for all buckets. */
function withEndpoint(url: string, settings: Settings): string {
  const endpoint = settings.text("AWS_ENDPOINT_URL_S3") ?? settings.text("AWS_ENDPOINT_URL");
  const parsed = URL.parse(url);
  if (endpoint === undefined || !url.startsWith("s3:") || parsed === null) return url;
  if (parsed.searchParams.has("endpoint")) return url;
  const joint = parsed.search === "" ? "?" : "&";
  return `${url}${joint}endpoint=${encodeURIComponent(endpoint.replace(/\/+$/, ""))}`;
}

function readCredentials(settings: Settings): NonNullable<StoreSettings["credentials"]> {
  if (settings.text("AWS_SESSION_TOKEN") !== undefined)
    settings.refuse(
      "AWS_SESSION_TOKEN",
      "is set: Litestream does not pass session tokens on. Use a lasting key",
    );
  return {
    accessKeyId: readCredential(settings, "AWS_ACCESS_KEY_ID"),
    secretAccessKey: readCredential(settings, "AWS_SECRET_ACCESS_KEY"),
  };
}

/** What is missing was refused, so that the stand-in is never used. */
function readCredential(settings: Settings, name: string): string {
  const value = settings.text(name);
  if (value === undefined) settings.refuse(name, "is not set, and the store is an S3 bucket");
  return value ?? "missing";
}
