import { DrizzleQueryError } from "drizzle-orm/errors";
import type { Issue } from "../engine/errors.ts";

/**
 * What each `code` is over HTTP. An error belongs here by its `code` property, whichever layer threw it; one whose code is
 * not listed is `internal`, and nothing of it leaves the process. `retryAfterSeconds` stands in where the error has none.
 */
const problems = {
  bad_request: { status: 400, title: "The request is malformed" },
  unauthenticated: { status: 401, title: "A valid token is needed" },
  forbidden: { status: 403, title: "The token does not allow this" },
  not_found: { status: 404, title: "There is no such thing" },
  elsewhere: { status: 409, title: "Another Machine serves the tenant" },
  idempotency_conflict: { status: 409, title: "The idempotency key belongs to another request" },
  wrong_status: { status: 409, title: "The run's status does not allow this" },
  misdirected: { status: 421, title: "The request was meant for another host" },
  too_large: { status: 413, title: "The body is too large" },
  invalid_input: { status: 422, title: "The input is invalid" },
  headers_too_large: { status: 431, title: "The headers are too large" },
  internal: { status: 500, title: "Something went wrong here" },
  not_durable: { status: 503, title: "The answer is not durable yet", retryAfterSeconds: 1 },
  tenant_unavailable: { status: 503, title: "The tenant cannot be served now", retryAfterSeconds: 5 },
  store_unavailable: { status: 503, title: "The store cannot be reached now", retryAfterSeconds: 5 },
  overloaded: { status: 503, title: "There is too much to do at once", retryAfterSeconds: 1 },
  draining: { status: 503, title: "This host is stopping", retryAfterSeconds: 1 },
} as const satisfies Readonly<Record<string, ProblemKind>>;

interface ProblemKind {
  readonly status: number;
  readonly title: string;
  readonly retryAfterSeconds?: number;
}

export type ProblemCode = keyof typeof problems;

/** Thrown by what reads a request. `detail` says what happened, to what, and what to do. */
export class HttpProblem extends Error {
  override readonly name = "HttpProblem";
  readonly code: ProblemCode;
  readonly issues: readonly Issue[] | undefined;
  readonly headers: Readonly<Record<string, string>>;
  constructor(
    code: ProblemCode,
    detail: string,
    options: { readonly issues?: readonly Issue[]; readonly headers?: Readonly<Record<string, string>> } = {},
  ) {
    super(detail);
    this.code = code;
    this.issues = options.issues;
    this.headers = options.headers ?? {};
  }
}

/**
 * Trouble of the tenant's file, by the database's own codes: clients are to come again. What else a database refuses, such
 * as a transaction within a transaction, is a mistake in the code.
 */
const databaseTrouble: ReadonlySet<string> = new Set([
  "database_busy",
  "SQLITE_FULL",
  "SQLITE_IOERR",
  "queue_full",
  "connection_closed",
]);

/** Trouble with what a request brought, which a route has handed to the database as it was. */
const databaseInput: ReadonlySet<string> = new Set(["nul_text"]);

/** The code that the table has for an error, else `internal`, and the error that tells what happened. */
export function problemOf(error: Error): { readonly code: ProblemCode; readonly origin: Error } {
  // Drizzle wraps an error of the database in one whose message shows the query and its parameters.
  const origin = error instanceof DrizzleQueryError && error.cause !== undefined ? error.cause : error;
  const code = "code" in origin && typeof origin.code === "string" ? origin.code : "";
  if (isProblemCode(code)) return { code, origin };
  if (databaseInput.has(code)) return { code: "invalid_input", origin };
  return { code: databaseTrouble.has(code) ? "tenant_unavailable" : "internal", origin };
}

/** An RFC 9457 answer. It holds an error's message only where the table knows its code. */
export function problemResponse(error: Error, requestId: string): Response {
  const { code, origin } = problemOf(error);
  const kind: ProblemKind = problems[code];
  const known = code !== "internal";
  const retryAfterSeconds = numberOf(error, "retryAfterSeconds") ?? kind.retryAfterSeconds;
  const body = {
    type: `urn:holdfast:problem:${code}`,
    title: kind.title,
    status: kind.status,
    detail: known ? origin.message : `The host's log tells more under the request id ${requestId}.`,
    code,
    ...(known && "issues" in error && Array.isArray(error.issues) ? { issues: error.issues } : {}),
    instance: `urn:holdfast:request:${requestId}`,
  };
  return new Response(JSON.stringify(body), {
    status: kind.status,
    headers: {
      "content-type": "application/problem+json",
      ...(known && retryAfterSeconds !== undefined
        ? { "retry-after": String(Math.ceil(retryAfterSeconds)) }
        : {}),
      ...(error instanceof HttpProblem ? error.headers : {}),
    },
  });
}

function isProblemCode(code: string): code is ProblemCode {
  return Object.hasOwn(problems, code);
}

function numberOf(error: Error, property: string): number | undefined {
  const value: unknown = Reflect.get(error, property);
  return typeof value === "number" && Number.isFinite(value) ? value : undefined;
}
