import { signToken } from "../http/token.ts";

/** What the app did about the wakes that were due. */
export interface WakeAnswer {
  readonly due: number;
  readonly served: number;
}

/** The message says what the app answered, or why it did not. */
export class WakeCallError extends Error {
  override readonly name = "WakeCallError";
}

export interface WakeCallOptions {
  /** Of the app. */
  readonly url: string;
  readonly tokenSecret: string;
  /** Opening many tenants takes a while, and starting a Machine before that too. */
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

const tokenLife = "2m";
const keptText = 200;

/** Calls `POST /v1/wake` of the app. Throws WakeCallError; it may have been served all the same, and may be repeated. */
export async function callWake({
  url,
  tokenSecret,
  timeoutMs,
  signal,
}: WakeCallOptions): Promise<WakeAnswer> {
  const token = await signToken({ sub: "waker", scope: "operator", expiresIn: tokenLife }, tokenSecret);
  const target = `${url}/v1/wake`;
  let answer: Response;
  let text: string;
  try {
    answer = await fetch(target, {
      method: "POST",
      headers: { authorization: `Bearer ${token}` },
      signal: AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]),
      // Followed, it would become a GET, and might carry the token elsewhere.
      redirect: "manual",
    });
    text = await answer.text();
  } catch (error) {
    throw new WakeCallError(`${target} did not answer: ${reasonOf(error)}`, { cause: error });
  }
  const counts = answer.status === 200 ? readCounts(text) : undefined;
  if (counts !== undefined) return counts;
  const location = answer.headers.get("location");
  const what =
    location === null ? text.slice(0, keptText) : `a redirect to ${location}; set HOLDFAST_WAKE_URL to it`;
  throw new WakeCallError(`${target} answered ${answer.status}: ${what}`);
}

function readCounts(text: string): WakeAnswer | undefined {
  try {
    const { due, served } = JSON.parse(text) as Partial<Record<keyof WakeAnswer, unknown>>;
    return typeof due === "number" && typeof served === "number" ? { due, served } : undefined;
  } catch {
    return undefined;
  }
}

/** `fetch` says only that it failed; why lies one level down. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const { cause } = error;
  if (!(cause instanceof Error)) return error.message;
  return cause.message === "" ? cause.name : cause.message;
}
