import { createHmac, hash } from "node:crypto";
import type { S3Credentials } from "./s3-location.ts";

/** What is signed; every header that is given is, so none may be changed on the way. */
export interface UnsignedRequest {
  readonly method: string;
  readonly host: string;
  /** Percent-encoded as S3 does it: all but `A-Z a-z 0-9 - . _ ~ /`. */
  readonly path: string;
  /** `name=value` joined by `&`, encoded as the path but for `/` too, ordered by name. */
  readonly query: string;
  /** Names in lower case, values without spaces around them. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: Uint8Array;
}

/**
 * AWS Signature Version 4 in the `Authorization` header, for S3
 * (https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html). Synchronous: a signature takes
 * microseconds, and WebCrypto's threads an order of magnitude more.
 */
export class S3Signer {
  readonly #region: string;
  readonly #credentials: S3Credentials;
  /** Good for a day. */
  #key: { readonly day: string; readonly bytes: Buffer } = { day: "", bytes: Buffer.alloc(0) };

  constructor({ region, credentials }: { readonly region: string; readonly credentials: S3Credentials }) {
    this.#region = region;
    this.#credentials = credentials;
  }

  /** All headers of the request, the signature among them; `now` is epoch milliseconds. */
  sign({ method, host, path, query, headers, body }: UnsignedRequest, now: number): Record<string, string> {
    const { accessKeyId, sessionToken } = this.#credentials;
    const time = new Date(now).toISOString().replaceAll(/[-:]|\.\d+/g, "");
    const day = time.slice(0, 8);
    const bodyHash = hash("sha256", body ?? "");
    const signed: Record<string, string> = {
      ...headers,
      host,
      "x-amz-content-sha256": bodyHash,
      "x-amz-date": time,
      ...(sessionToken === undefined ? {} : { "x-amz-security-token": sessionToken }),
    };
    const names = Object.keys(signed).toSorted();
    const canonicalHeaders = names.map((name) => `${name}:${signed[name]}\n`).join("");
    const signedNames = names.join(";");
    const request = [method, path, query, canonicalHeaders, signedNames, bodyHash].join("\n");
    const scope = `${day}/${this.#region}/s3/aws4_request`;
    const text = ["AWS4-HMAC-SHA256", time, scope, hash("sha256", request)].join("\n");
    const signature = hmac(this.#keyOf(day), text).toString("hex");
    signed["authorization"] =
      `AWS4-HMAC-SHA256 Credential=${accessKeyId}/${scope}, SignedHeaders=${signedNames}, Signature=${signature}`;
    return signed;
  }

  #keyOf(day: string): Buffer {
    if (this.#key.day !== day) {
      const { secretAccessKey } = this.#credentials;
      const parts = [day, this.#region, "s3", "aws4_request"];
      const bytes = parts.reduce(hmac, Buffer.from(`AWS4${secretAccessKey}`));
      this.#key = { day, bytes };
    }
    return this.#key.bytes;
  }
}

function hmac(key: Buffer, text: string): Buffer {
  return createHmac("sha256", key).update(text).digest();
}
