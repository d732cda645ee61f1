import path from "node:path";
import { isHttpUrl, quoted, type Settings } from "./settings.ts";

export type StoreConfig =
  | { readonly kind: "file"; readonly folder: string }
  | {
      readonly kind: "s3";
      readonly bucket: string;
      /** Without slashes at its ends; "" for the whole bucket. */
      readonly prefix: string;
      /** null: AWS itself. */
      readonly endpoint: string | null;
      readonly region: string;
      readonly forcePathStyle: boolean;
      readonly credentials: {
        readonly accessKeyId: string;
        readonly secretAccessKey: string;
        readonly sessionToken: string | null;
      };
    };

/** What HOLDFAST_STORE says, else the bucket that `fly storage create` has set, else a local folder. */
export function readStore(settings: Settings): StoreConfig {
  const name = "HOLDFAST_STORE";
  const bucket = settings.text("BUCKET_NAME");
  const text = settings.text(name) ?? (bucket === undefined ? undefined : `s3://${bucket}`);
  if (text === undefined && settings.onFly) {
    // A Machine's disk is fresh after a stop, so the default would lose everything that was acknowledged.
    settings.refuse(
      name,
      "is not set. Run `fly storage create`, or name a bucket",
      "s3://BUCKET/PREFIX?endpoint=URL",
    );
  }
  const url = text ?? "file:.holdfast/store";
  if (url.startsWith("s3://"))
    return readS3Store(settings, url, settings.text(name) === undefined ? "BUCKET_NAME" : name);
  const folder = /^file:(?:\/\/(?=\/))?(?<folder>.+)$/.exec(url)?.groups?.folder;
  if (folder === undefined)
    settings.refuse(
      name,
      "must be `file:DIR` or `s3://bucket/prefix?endpoint=URL&region=R&forcePathStyle=true`",
    );
  return { kind: "file", folder: path.resolve(folder ?? "") };
}

/** `name` is the setting that the URL came from. The URL itself is not repeated in errors: it may hold a secret by mistake. */
function readS3Store(settings: Settings, text: string, name: string): StoreConfig {
  const url = URL.canParse(text) ? new URL(text) : new URL("s3://-");
  const query = url.searchParams;
  const prefix = url.pathname.replace(/^\/+|\/+$/g, "");
  const endpoint =
    query.get("endpoint") ??
    settings.text("AWS_ENDPOINT_URL_S3") ??
    settings.text("AWS_ENDPOINT_URL") ??
    null;
  const forcePathStyle = query.get("forcePathStyle") ?? String(endpoint !== null && hasBareAddress(endpoint));
  const unknown = [...query.keys()].find((key) => !["endpoint", "region", "forcePathStyle"].includes(key));

  if (!/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/.test(url.hostname))
    settings.refuse(name, "must name a bucket of 3 to 63 of a-z 0-9 . - after s3://");
  if (url.username !== "" || url.password !== "")
    settings.refuse(
      name,
      "must hold no credentials: they belong into AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    );
  if (!/^([A-Za-z0-9._-]+(\/[A-Za-z0-9._-]+)*)?$/.test(prefix) || prefix.length > 200)
    settings.refuse(name, "must have a prefix of 200 of A-Z a-z 0-9 . _ - / at most, without empty parts");
  if (endpoint !== null && !isHttpUrl(endpoint))
    settings.refuse(
      query.has("endpoint") ? name : "AWS_ENDPOINT_URL_S3",
      "must give the endpoint as an http(s) URL without credentials",
    );
  if (!["true", "false"].includes(forcePathStyle))
    settings.refuse(name, "must have forcePathStyle=true or false");
  if (unknown !== undefined)
    settings.refuse(name, `knows endpoint, region and forcePathStyle after "?", not ${quoted(unknown)}`);

  return {
    kind: "s3",
    bucket: url.hostname,
    prefix,
    endpoint: endpoint === null ? null : endpoint.replace(/\/+$/, ""),
    region:
      query.get("region") ??
      settings.text("AWS_REGION") ??
      settings.text("AWS_DEFAULT_REGION") ??
      (endpoint === null ? "us-east-1" : "auto"),
    forcePathStyle: forcePathStyle === "true",
    credentials: {
      accessKeyId: readCredential(settings, "AWS_ACCESS_KEY_ID"),
      secretAccessKey: readCredential(settings, "AWS_SECRET_ACCESS_KEY"),
      sessionToken: settings.text("AWS_SESSION_TOKEN") ?? null,
    },
  };
}

function readCredential(settings: Settings, name: string): string {
  const value = settings.text(name);
  if (value === undefined) settings.refuse(name, "is not set, and the store is an S3 bucket");
  return value ?? "";
}

/** A bucket cannot be a part of the host name where that is an address or `localhost`. */
function hasBareAddress(endpoint: string): boolean {
  if (!URL.canParse(endpoint)) return false;
  const { hostname: host } = new URL(endpoint);
  return host === "localhost" || host.startsWith("[") || /^[\d.]+$/.test(host);
}
