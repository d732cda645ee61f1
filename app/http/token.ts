import { sign, verify } from "hono/jwt";
import ms, { type StringValue } from "ms";

/** What a token may do. `operator` passes every check and is the only scope that goes without a tenant. */
export type Scope = "runs:read" | "runs:write" | "approvals:write" | "tenant:admin" | "operator";

export interface TokenRequest {
  /** Left out for an operator, who names the tenant with each request. */
  readonly tenant?: string;
  /** Who holds the token: a user's id, a service's name. */
  readonly sub: string;
  /** One or more scopes, separated by spaces. */
  readonly scope: string;
  /** From now on: milliseconds, or text like `"15m"`, `"30 days"`. */
  readonly expiresIn: string | number;
}

/** What a verified token says. `tenant` is null for an operator's. */
export interface Claims {
  readonly tenant: string | null;
  readonly sub: string;
  readonly scopes: ReadonlySet<string>;
}

/** The message says what is wrong with the token and holds nothing of it. */
export class TokenError extends Error {
  override readonly name = "TokenError";
}

/** A JWT (RFC 7519), signed with HS256. Throws RangeError if `expiresIn` is no positive duration. */
export async function signToken(request: TokenRequest, secret: string): Promise<string> {
  const { tenant, sub, scope } = request;
  const lifetimeMs = readLifetime(request.expiresIn);
  const issuedAt = Math.floor(Date.now() / 1000);
  return sign(
    {
      ...(tenant === undefined ? {} : { tenant }),
      sub,
      scope,
      iat: issuedAt,
      exp: issuedAt + Math.ceil(lifetimeMs / 1000),
    },
    secret,
    "HS256",
  );
}

/** Accepts what any of the secrets signed, so that one can be rotated. Throws TokenError. */
export async function verifyToken(token: string, secrets: readonly string[]): Promise<Claims> {
  return (await verifySigned(token, secrets)).claims;
}

/**
 * As `verifyToken`, for many requests: what was found good is remembered until it expires, since a signature takes longer
 * to check than most requests take otherwise. What was refused is not remembered.
 */
export function rememberingVerifier(secrets: readonly string[]): (token: string) => Promise<Claims> {
  /** By the token, the one that was used last at the end. */
  const good = new Map<string, Verified>();
  return async (token) => {
    const known = good.get(token);
    const verified = known ?? (await verifySigned(token, secrets));
    good.delete(token);
    // The same as of a token that is seen for the first time: it ends with the second that it names.
    if (verified.expiresAt <= Math.floor(Date.now() / 1000)) throw new TokenError(hasExpired);
    good.set(token, verified);
    const [oldest] = good.keys();
    if (good.size > maxRemembered && oldest !== undefined) good.delete(oldest);
    return verified.claims;
  };
}

interface Verified {
  readonly claims: Claims;
  /** Seconds of the epoch. */
  readonly expiresAt: number;
}

async function verifySigned(token: string, secrets: readonly string[]): Promise<Verified> {
  if (token.length > maxTokenLength) throw new TokenError("The token is too long");
  if (!hasCanonicalSignature(token)) throw new TokenError("The token is not a signed JWT");
  for (const secret of secrets) {
    const payload = await verifyWith(token, secret);
    if (payload !== undefined) return readClaims(payload);
  }
  throw new TokenError("The token's signature is not ours");
}

const maxRemembered = 1_000;
const maxTokenLength = 8192;

/** Leaves out no check of `verify` but the one of `iat`: the clock of whoever signed may run ahead of ours. */
async function verifyWith(token: string, secret: string): Promise<Record<string, unknown> | undefined> {
  try {
    // The algorithm is pinned here and never taken from the token's header.
    return await verify(token, secret, { alg: "HS256", iat: false });
  } catch (error) {
    const reason = error instanceof Error ? error.name : "";
    if (reason === "JwtTokenSignatureMismatched") return undefined;
    throw new TokenError(reasons[reason] ?? "The token is not a signed JWT");
  }
}

const hasExpired = "The token has expired";
const reasons: Readonly<Record<string, string>> = {
  JwtTokenExpired: hasExpired,
  JwtTokenNotBefore: "The token is not valid yet",
  JwtAlgorithmMismatch: "The token must be signed with HS256",
};

/** Base64url leaves spare bits in the last character; only one spelling of a signature is accepted. */
function hasCanonicalSignature(token: string): boolean {
  const parts = token.split(".");
  const signature = parts[2];
  if (parts.length !== 3 || signature === undefined || signature === "") return false;
  return Buffer.from(signature, "base64url").toString("base64url") === signature;
}

function readClaims(payload: Record<string, unknown>): Verified {
  const { exp, sub, scope, tenant } = payload;
  if (typeof exp !== "number") throw new TokenError("The token has no `exp`: one that never ends is refused");
  if (typeof sub !== "string" || sub === "") throw new TokenError("The token has no `sub`");
  if (typeof scope !== "string") throw new TokenError("The token has no `scope`");
  if (tenant !== undefined && typeof tenant !== "string")
    throw new TokenError("The token's `tenant` is no text");
  const scopes = new Set(scope.split(" ").filter((name) => name !== ""));
  return { claims: { tenant: tenant ?? null, sub, scopes }, expiresAt: exp };
}

function readLifetime(expiresIn: string | number): number {
  const lifetimeMs =
    typeof expiresIn === "number" ? expiresIn : isNumberWithUnit(expiresIn) ? ms(expiresIn) : 0;
  if (!(Number.isFinite(lifetimeMs) && lifetimeMs > 0))
    throw new RangeError(
      `expiresIn must be a positive duration such as "15m" or "30 days"; it is "${expiresIn}"`,
    );
  return lifetimeMs;
}

function isNumberWithUnit(text: string): text is StringValue {
  return /^\d*\.?\d+ *[a-z]*$/i.test(text);
}
