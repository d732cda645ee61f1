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
  const url = withEndpoint(
    named ?? (bucket === undefined ? "file:.holdfast/store" : `s3://${bucket}`),
    settings,
  );
  const store: StoreConfig = {
    url,
    settings: {
      baseDir: process.cwd(),
      region: settings.text("AWS_REGION") ?? settings.text("AWS_DEFAULT_REGION"),
      credentials: {
        accessKeyId: settings.text("AWS_ACCESS_KEY_ID") ?? "",
        secretAccessKey: settings.text("AWS_SECRET_ACCESS_KEY") ?? "",
      },
    },
  };
  check(store, settings);
  return store;
}

/** An endpoint in the URL wins over the one that the platform has set for all buckets. */
function withEndpoint(url: string, settings: Settings): string {
  const endpoint = settings.text("AWS_ENDPOINT_URL_S3") ?? settings.text("AWS_ENDPOINT_URL");
  const parsed = URL.parse(url);
  if (
    endpoint === undefined ||
    !url.startsWith("s3:") ||
    parsed === null ||
    parsed.searchParams.has("endpoint")
  )
    return url;
  return `${url}${parsed.search === "" ? "?" : "&"}endpoint=${encodeURIComponent(endpoint.replace(/\/+$/, ""))}`;
}

function check(store: StoreConfig, settings: Settings): void {
  const name = "HOLDFAST_STORE";
  if (store.url === "file:.holdfast/store" && settings.onFly) {
    // A Machine's disk is fresh after a stop, so the default would lose everything that was acknowledged.
    settings.refuse(
      name,
      "is not set. Run `fly storage create`, or name a bucket",
      "s3://BUCKET/PREFIX?endpoint=URL",
    );
    return;
  }
  if (store.url.startsWith("s3:") && settings.text("AWS_SESSION_TOKEN") !== undefined)
    settings.refuse(
      "AWS_SESSION_TOKEN",
      "is set: Litestream does not pass session tokens on. Use a lasting key",
    );
  try {
    openStore(store.url, store.settings);
  } catch (error) {
    if (!(error instanceof StoreSettingError)) throw error;
    settings.refuse(
      name,
      `is not usable: ${error.message.replace(/^HOLDFAST_STORE: /, "").replace(/\.$/, "")}`,
    );
  }
}
