import * as http from "node:http";
import * as https from "node:https";
import { maxObjectBytes } from "./object-store.ts";
import type { S3Credentials } from "./s3-location.ts";
import { S3Signer } from "./s3-signature.ts";

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

/**
 * Signs and sends single requests on kept connections, and repeats nothing. `node:http` instead of `fetch`: a read takes
 * half the processor time, and the life of an idle connection can be set.
 */
export class S3Exchange {
  readonly #options: S3ExchangeOptions;
  readonly #agents: {
    readonly [protocol: string]: { readonly repeatable: http.Agent; readonly once: http.Agent };
  };
  readonly #signer: S3Signer;

  constructor(options: S3ExchangeOptions) {
    this.#options = options;
    this.#signer = new S3Signer(options);
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
  send(request: S3Request): Promise<S3Answer> {
    return new Promise((resolve, reject) => {
      const url = new URL(request.url);
      const headers = this.#sign(request, url);
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
      }, this.#options.timeoutMs);
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

  #sign({ method, headers, body }: S3Request, url: URL): Record<string, string> {
    const { host, pathname: path, search } = url;
    const query = search.slice(1);
    const unsigned = { method, host, path, query, headers };
    const signed = this.#signer.sign(body === undefined ? unsigned : { ...unsigned, body }, Date.now());
    return body === undefined ? signed : { ...signed, "content-length": String(body.byteLength) };
  }
}
