/** Where a bucket is and how it is addressed. */
export interface S3Location {
  /** Origin of the service, e.g. `https://fly.storage.tigris.dev`; without it, AWS in `region`. */
  readonly endpoint?: string | undefined;
  readonly region: string;
  readonly bucket: string;
  /** What all keys start with, without slashes at its ends; "" for none. */
  readonly prefix: string;
  /** Whether the bucket stands in the path (`host/bucket/key`) or in the host's name (`bucket.host/key`). */
  readonly forcePathStyle: boolean;
}

export interface S3Credentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken?: string | undefined;
}

/** Tigris may answer from a copy in another region unless it is told not to. */
export function isTigris(endpoint: string | undefined): boolean {
  if (endpoint === undefined) return false;
  const { hostname } = new URL(endpoint);
  return hostname.includes("tigris") || hostname === "t3.storage.dev";
}

/** URL of the bucket itself, with a "/" at its end. */
export function bucketUrl(location: S3Location): string {
  const { protocol, host } = new URL(location.endpoint ?? `https://s3.${location.region}.amazonaws.com`);
  return location.forcePathStyle
    ? `${protocol}//${host}/${location.bucket}/`
    : `${protocol}//${location.bucket}.${host}/`;
}

/** The name of an object in the bucket. */
export function fullKey(location: S3Location, key: string): string {
  return location.prefix === "" ? key : `${location.prefix}/${key}`;
}

/** Percent-encodes as signatures of S3 demand, which is more than URLs need. */
export function encodeKey(key: string): string {
  return key.split("/").map(encodePart).join("/");
}

/**
 * The URL by which Litestream 0.5 finds the folder `path` of this bucket. Nothing is left to its defaults: it would address
 * every endpoint of one's own by path, which Tigris refuses for buckets made since February 2025. Credentials reach it by
 * its environment.
 */
export function litestreamUrl(location: S3Location, path: string): string {
  const query = [
    ...(location.endpoint === undefined ? [] : [`endpoint=${encodeURIComponent(location.endpoint)}`]),
    `region=${encodeURIComponent(location.region)}`,
    `forcePathStyle=${location.forcePathStyle}`,
  ];
  return `s3://${location.bucket}/${encodeKey(fullKey(location, path))}?${query.join("&")}`;
}

function encodePart(part: string): string {
  return encodeURIComponent(part).replace(/[!'()*]/g, (character) => {
    return `%${character.charCodeAt(0).toString(16).toUpperCase()}`;
  });
}
