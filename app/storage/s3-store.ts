import { setTimeout as sleep } from "node:timers/promises";
import { checkKeyPrefix, checkObjectKey, sortKeys } from "./object-key.ts";
import {
  maxListedKeys,
  maxObjectBytes,
  PreconditionFailedError,
  StoreUnavailableError,
} from "./object-store.ts";
import type { ObjectStore, PutCondition, StoredObject } from "./object-store.ts";
import { S3AnswerError } from "./s3-answer-error.ts";
import { S3Exchange, S3TimeoutError } from "./s3-exchange.ts";
import type { S3Answer, S3Request } from "./s3-exchange.ts";
import { bucketUrl, encodeKey, fullKey, isTigris, litestreamUrl } from "./s3-location.ts";
import type { S3Credentials, S3Location } from "./s3-location.ts";
import { readErrorCode, readListingPage } from "./s3-xml.ts";

export interface S3StoreOptions {
  readonly location: S3Location;
  readonly credentials: S3Credentials;
  /** For one request; 10 s by default. A call that repeats one, or follows pages, may take several times as long. */
  readonly timeoutMs?: number;
}

/** Pauses before the first and the second repetition; there is no third. */
const repeatAfterMs = [50, 250];

/** A page has 1,000 keys, but may have fewer. */
const maxPages = 10_000;

/** Objects in a bucket of S3 or of a service that speaks its protocol, conditional puts and strong consistency included. */
export class S3Store implements ObjectStore {
  readonly description: string;
  readonly #location: S3Location;
  readonly #bucketUrl: string;
  readonly #exchange: S3Exchange;
  readonly #headers: Readonly<Record<string, string>>;

  constructor(options: S3StoreOptions) {
    const { location, credentials, timeoutMs = 10_000 } = options;
    this.#location = location;
    this.#bucketUrl = bucketUrl(location);
    this.#exchange = new S3Exchange({ region: location.region, credentials, timeoutMs });
    this.#headers = isTigris(location.endpoint) ? { "x-tigris-consistent": "true" } : {};
    const place = location.prefix === "" ? location.bucket : `${location.bucket}/${location.prefix}`;
    this.description = `s3://${place} at ${new URL(this.#bucketUrl).host}`;
  }

  async get(key: string): Promise<StoredObject | undefined> {
    const answer = await this.#repeat(key, {
      method: "GET",
      url: this.#url(key),
      headers: this.#headers,
      once: false,
    });
    if (answer.status === 200) return { body: answer.body, etag: this.#etag(answer, "GET", key) };
    // Only S3's own word counts: the 404 of a wrong address must not pass for an empty store.
    if (readErrorCode(answer.body) === "NoSuchKey") return undefined;
    throw this.#unexpected("GET", key, answer);
  }

  async put(
    key: string,
    body: Uint8Array | string,
    condition?: PutCondition,
  ): Promise<{ readonly etag: string }> {
    const bytes = typeof body === "string" ? Buffer.from(body) : body;
    if (bytes.byteLength > maxObjectBytes)
      throw new TypeError(`The object "${key}" is larger than ${maxObjectBytes} bytes.`);
    const request: S3Request = {
      method: "PUT",
      url: this.#url(key),
      headers: { ...this.#headers, ...headersOf(condition) },
      body: bytes,
      once: condition !== undefined,
    };
    const answer =
      condition === undefined ? await this.#repeat(key, request) : await this.#send(key, request);
    if (answer.status === 200) return { etag: this.#etag(answer, "PUT", key) };
    if (condition !== undefined && isRefusal(condition, answer)) throw new PreconditionFailedError(key);
    throw this.#unexpected("PUT", key, answer);
  }

  async delete(key: string): Promise<void> {
    const url = this.#url(key);
    const answer = await this.#repeat(key, { method: "DELETE", url, headers: this.#headers, once: false });
    if (answer.status === 204 || answer.status === 200) return;
    if (readErrorCode(answer.body) !== "NoSuchKey") throw this.#unexpected("DELETE", key, answer);
  }

  async list(prefix: string): Promise<readonly string[]> {
    checkKeyPrefix(prefix);
    const keys: string[] = [];
    const own = fullKey(this.#location, "");
    let next: string | undefined;
    for (let pages = 0; pages < maxPages && keys.length <= maxListedKeys; pages++) {
      const page = await this.#listPage(prefix, next);
      for (const key of page.keys) keys.push(key.slice(own.length));
      next = page.next;
      if (next === undefined) return sortKeys(keys);
    }
    throw new StoreUnavailableError(
      `More than ${maxListedKeys} objects of the store ${this.description} start with "${prefix}".`,
    );
  }

  replicaUrl(path: string): string {
    checkObjectKey(path);
    return litestreamUrl(this.#location, path);
  }

  #url(key: string): string {
    checkObjectKey(key);
    return this.#bucketUrl + encodeKey(fullKey(this.#location, key));
  }

  async #listPage(prefix: string, after: string | undefined): Promise<ReturnType<typeof readListingPage>> {
    const query = [
      ...(after === undefined ? [] : [`continuation-token=${encodeKey(after).replaceAll("/", "%2F")}`]),
      "encoding-type=url",
      "list-type=2",
      `prefix=${encodeKey(fullKey(this.#location, prefix)).replaceAll("/", "%2F")}`,
    ];
    const url = `${this.#bucketUrl}?${query.join("&")}`;
    const answer = await this.#repeat(prefix, { method: "GET", url, headers: this.#headers, once: false });
    if (answer.status !== 200) throw this.#unexpected("LIST", prefix, answer);
    try {
      return readListingPage(answer.body);
    } catch (error) {
      throw this.#unavailable("LIST", prefix, error);
    }
  }

  async #repeat(key: string, request: S3Request): Promise<S3Answer> {
    for (const pauseMs of repeatAfterMs) {
      try {
        const answer = await this.#exchange.send(request);
        if (answer.status < 500 && answer.status !== 429) return answer;
      } catch (error) {
        // A store that hangs would hang again, and the caller has waited long enough.
        if (error instanceof S3TimeoutError) throw this.#unavailable(request.method, key, error);
      }
      await sleep(pauseMs * (0.5 + Math.random()));
    }
    return this.#send(key, request);
  }

  async #send(key: string, request: S3Request): Promise<S3Answer> {
    try {
      return await this.#exchange.send(request);
    } catch (error) {
      throw this.#unavailable(request.method, key, error);
    }
  }

  #etag(answer: S3Answer, verb: string, key: string): string {
    if (answer.headers.etag !== undefined) return answer.headers.etag;
    throw this.#unavailable(verb, key, new Error("the answer carries no ETag"));
  }

  #unexpected(verb: string, key: string, answer: S3Answer): StoreUnavailableError {
    return this.#unavailable(verb, key, new S3AnswerError(answer.status, readErrorCode(answer.body)));
  }

  #unavailable(verb: string, key: string, cause: unknown): StoreUnavailableError {
    return new StoreUnavailableError(
      `The store ${this.description} failed ${verb} "${key}": ${say(cause)}.`,
      {
        cause,
      },
    );
  }
}

function headersOf(condition: PutCondition | undefined): Record<string, string> {
  if (condition === undefined) return {};
  return condition.ifMatch === undefined ? { "if-none-match": "*" } : { "if-match": condition.ifMatch };
}

/** 409 says that a concurrent request got in between; the caller reads again either way. */
function isRefusal(condition: PutCondition, answer: S3Answer): boolean {
  if (answer.status === 412 || answer.status === 409) return true;
  return condition.ifMatch !== undefined && readErrorCode(answer.body) === "NoSuchKey";
}

/** A refused connection to a name with several addresses has its reasons one level down. */
function say(cause: unknown): string {
  if (cause instanceof AggregateError) return cause.errors.map(say).join("; ");
  return cause instanceof Error ? cause.message : String(cause);
}
