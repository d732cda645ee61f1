import { isAbsolute, join } from "node:path";
import { DirectoryStore } from "./directory-store.ts";
import { checkObjectKey } from "./object-key.ts";
import type { ObjectStore } from "./object-store.ts";
import { isTigris } from "./s3-location.ts";
import type { S3Credentials, S3Location } from "./s3-location.ts";
import { S3Store } from "./s3-store.ts";

export interface StoreSettings {
  /** Needed for `s3:` only. */
  readonly credentials?: S3Credentials | undefined;
  /** What a relative folder starts from; absolute. */
  readonly baseDir: string;
  /** Used when an `s3:` URL names no region. */
  readonly region?: string | undefined;
  /** For one request to S3; 10 s by default. */
  readonly timeoutMs?: number | undefined;
}

/** The message is one line that names the setting; it repeats no part of the URL that could be a secret. */
export class StoreSettingError extends Error {
  override readonly name = "StoreSettingError";
  constructor(why: string) {
    super(
      `HOLDFAST_STORE: ${why}. It is file:DIR or s3://bucket/prefix?endpoint=URL&region=R&forcePathStyle=true.`,
    );
  }
}

/** Does no I/O: a store that cannot be reached shows at the first call. Throws StoreSettingError. */
export function openStore(url: string, settings: StoreSettings): ObjectStore {
  if (url.startsWith("file:")) return new DirectoryStore(readDirectory(url, settings.baseDir));
  if (!url.startsWith("s3:"))
    throw new StoreSettingError("it names neither a folder (file:) nor a bucket (s3://)");
  const location = readLocation(url, settings.region);
  const { credentials, timeoutMs } = settings;
  if (credentials === undefined || credentials.accessKeyId === "" || credentials.secretAccessKey === "")
    throw new StoreSettingError(
      "a bucket needs AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and one is not set",
    );
  return new S3Store({ location, credentials, ...(timeoutMs === undefined ? {} : { timeoutMs }) });
}

/** What follows `file:` is a path as it is, not percent-encoded; `file:///abs` is taken for `file:/abs`. */
function readDirectory(url: string, baseDir: string): string {
  const rest = url.slice("file:".length);
  const path = rest.startsWith("///") ? rest.slice(2) : rest;
  if (path === "") throw new StoreSettingError("file: names no folder");
  if (path.startsWith("//"))
    throw new StoreSettingError("a folder is on this machine, so file:// takes no host");
  if (path.includes("\0")) throw new StoreSettingError("the folder's name holds a null character");
  return isAbsolute(path) ? path : join(baseDir, path);
}

function readLocation(text: string, defaultRegion: string | undefined): S3Location {
  const url = URL.parse(text);
  if (url === null || url.host === "" || !text.startsWith("s3://"))
    throw new StoreSettingError("s3: needs a bucket, as in s3://bucket");
  if (url.username !== "" || url.password !== "")
    throw new StoreSettingError(
      "credentials do not belong in the URL; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    );
  if (!/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/.test(url.host))
    throw new StoreSettingError(
      "the bucket's name must be 3 to 63 lower-case letters, digits, dots and hyphens",
    );
  if (url.hash !== "") throw new StoreSettingError('a "#" means nothing here');
  const query = readQuery(url.searchParams);
  const endpoint = readEndpoint(query.get("endpoint"));
  return {
    endpoint,
    bucket: url.host,
    prefix: readPrefix(url.pathname),
    region: readRegion(query.get("region") ?? defaultRegion, endpoint),
    forcePathStyle: readPathStyle(query.get("forcePathStyle"), endpoint, url.host),
  };
}

function readQuery(parameters: URLSearchParams): ReadonlyMap<string, string> {
  const known = ["endpoint", "region", "forcePathStyle"];
  const query = new Map<string, string>();
  for (const [name, value] of parameters) {
    if (!known.includes(name))
      throw new StoreSettingError(`unknown parameter ${JSON.stringify(name.slice(0, 40))}`);
    if (query.has(name)) throw new StoreSettingError(`${name}= is given twice`);
    if (value === "") throw new StoreSettingError(`${name}= is empty`);
    query.set(name, value);
  }
  return query;
}

function readEndpoint(value: string | undefined): string | undefined {
  if (value === undefined) return undefined;
  const url = URL.parse(value);
  const isOrigin =
    url !== null && url.pathname === "/" && url.search === "" && url.hash === "" && url.username === "";
  if (!isOrigin || !/^https?:\/\//.test(value))
    throw new StoreSettingError("endpoint= must be an origin, as in https://fly.storage.tigris.dev");
  return url.origin;
}

function readPrefix(pathname: string): string {
  let prefix;
  try {
    prefix = decodeURIComponent(pathname).replace(/^\/|\/$/g, "");
    if (prefix !== "") checkObjectKey(prefix);
  } catch {
    throw new StoreSettingError("the prefix is no path of plain names");
  }
  if (Buffer.byteLength(prefix) > 120) throw new StoreSettingError("the prefix is longer than 120 bytes");
  return prefix;
}

function readRegion(value: string | undefined, endpoint: string | undefined): string {
  if (value === undefined)
    return endpoint !== undefined && !endpoint.includes("amazonaws.") ? regionAt(endpoint) : "us-east-1";
  if (!/^[A-Za-z0-9-]{1,40}$/.test(value))
    throw new StoreSettingError("region= must be a name like eu-central-1");
  return value;
}

/** Tigris and R2 have one region, "auto"; others mostly take the first of AWS. */
function regionAt(endpoint: string): string {
  return isTigris(endpoint) || endpoint.endsWith(".r2.cloudflarestorage.com") ? "auto" : "us-east-1";
}

/**
 * AWS and Tigris want the bucket in the host's name (Tigris refuses anything else for buckets made since February 2025),
 * other services mostly have no such names. A dot in a bucket's name would fit no certificate.
 */
function readPathStyle(value: string | undefined, endpoint: string | undefined, bucket: string): boolean {
  if (value === "true" || value === "false") return value === "true";
  if (value !== undefined) throw new StoreSettingError("forcePathStyle= must be true or false");
  return (
    bucket.includes(".") ||
    (endpoint !== undefined && !isTigris(endpoint) && !endpoint.includes("amazonaws."))
  );
}
