import { createHash } from "node:crypto";
import * as http from "node:http";
import * as https from "node:https";
import { AwsV4Signer } from "aws4fetch";
import { maxObjectBytes } from "./object-store.ts";
import type { S3Credentials } from "./s3-location.ts";

export interface S3Request {
  readonly method: "GET" | "PUT" | "DELETE";
  /** Percent-encoded as S3 signs it. */
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: Uint8Array;
  /** The request must not be sent twice, so it must not meet a connection that the server may be closing. */
  readonly once: boolean;
}

/** Any answer that arrived whole, whatever its status. */
export interface S3Answer {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: Buffer;
}

/** No whole answer came in time; the request may have been applied, or be applied later. */
export class S3TimeoutError extends Error {
  override readonly name = "S3TimeoutError";
}

export interface S3ExchangeOptions {
  readonly region: string;
  readonly credentials: S3Credentials;
  /** For one request, signing to last byte. */
  readonly timeoutMs: number;
}

const maxConnections = 64;
/** Longer than the pause between two beats of a host; a read that meets a closed connection is repeated. */
const idleMs = 15_000;
/** Shorter than any server keeps an idle connection. */
const idleOnceMs = 1_000;
const emptyHash = sha256("");

/**
 * Signs and sends single requests on kept connections, and repeats nothing. `node:http` instead of `fetch`: a read takes
 * half the processor time, and the life of an idle connection can be set.
 */
export class S3Exchange {
  readonly #options: S3ExchangeOptions;
  readonly #agents: {
    readonly [protocol: string]: { readonly repeatable: http.Agent; readonly once: http.Agent };
  };
  /** Signing keys, one a day. */
  readonly #signingKeys = new Map<string, ArrayBuffer>();

  constructor(options: S3ExchangeOptions) {
    this.#options = options;
    const settings = { keepAlive: true, maxSockets: maxConnections, maxFreeSockets: maxConnections };
    this.#agents = {
      "http:": {
        repeatable: new http.Agent({ ...settings, timeout: idleMs }),
        once: new http.Agent({ ...settings, timeout: idleOnceMs }),
      },
      "https:": {
        repeatable: new https.Agent({ ...settings, timeout: idleMs }),
        once: new https.Agent({ ...settings, timeout: idleOnceMs }),
      },
    };
  }

  /** Throws S3TimeoutError, or what the network failed with. */
  async send(request: S3Request): Promise<S3Answer> {
    const startedAt = performance.now();
    const url = new URL(request.url);
    const headers = await this.#sign(request);
    const remainingMs = this.#options.timeoutMs - (performance.now() - startedAt);
    return new Promise((resolve, reject) => {
      const outgoing = (url.protocol === "https:" ? https : http).request(url, {
        method: request.method,
        headers,
        agent: this.#agents[url.protocol]?.[request.once ? "once" : "repeatable"],
      });
      const fail = (error: Error): void => {
        clearTimeout(timer);
        reject(error);
        outgoing.destroy();
      };
      const timer = setTimeout(() => {
        fail(new S3TimeoutError(`no answer within ${this.#options.timeoutMs} ms`));
      }, remainingMs);
      outgoing.on("error", fail);
      outgoing.on("response", (incoming) => {
        const chunks: Buffer[] = [];
        let size = 0;
        incoming.on("data", (chunk: Buffer) => {
          size += chunk.byteLength;
          if (size > maxObjectBytes) fail(new Error(`the answer is larger than ${maxObjectBytes} bytes`));
          else chunks.push(chunk);
        });
        incoming.on("error", fail);
        incoming.on("end", () => {
          clearTimeout(timer);
          resolve({
            status: incoming.statusCode ?? 0,
            headers: incoming.headers,
            body: Buffer.concat(chunks),
          });
        });
      });
      outgoing.end(request.body);
    });
  }

  async #sign(request: S3Request): Promise<Record<string, string>> {
    const { accessKeyId, secretAccessKey, sessionToken } = this.#options.credentials;
    const signer = new AwsV4Signer({
      method: request.method,
      url: request.url,
      headers: {
        ...request.headers,
        "x-amz-content-sha256": request.body === undefined ? emptyHash : sha256(request.body),
      },
      accessKeyId,
      secretAccessKey,
      ...(sessionToken === undefined ? {} : { sessionToken }),
      service: "s3",
      region: this.#options.region,
      cache: this.#signingKeys,
    });
    const headers = Object.fromEntries((await signer.sign()).headers);
    if (request.body !== undefined) headers["content-length"] = String(request.body.byteLength);
    return headers;
  }
}

function sha256(bytes: Uint8Array | string): string {
  return createHash("sha256").update(bytes).digest("hex");
}
