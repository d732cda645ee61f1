import { NonRetryableError, RetryAfterError } from "holdfast";
import { z } from "zod";

import { refundUrl } from "./settings.ts";

const paid = z.object({ paymentId: z.string().min(1).max(200) });

/** Answers with these may turn out otherwise the next time; any other 4xx will not. */
const worthRepeating: readonly number[] = [408, 409, 425, 429];

/**
 * Asks the payment service to pay; the key makes it one payment however often it is asked. Throws NonRetryableError when it
 * refuses for good, RetryAfterError when it says when to come again.
 */
export async function pay(
  request: { readonly orderId: string; readonly amountCents: number },
  { idempotencyKey, signal }: { readonly idempotencyKey: string; readonly signal: AbortSignal },
): Promise<string> {
  const answer = await fetch(refundUrl(), {
    method: "POST",
    headers: { "content-type": "application/json", "idempotency-key": idempotencyKey },
    body: JSON.stringify(request),
    signal,
  });
  if (answer.ok) return paid.parse(await answer.json()).paymentId;
  await answer.body?.cancel();
  const what = `The payment service answered ${answer.status}.`;
  const afterSeconds = Number(answer.headers.get("retry-after") ?? Number.NaN);
  if (answer.status < 500 && !worthRepeating.includes(answer.status)) throw new NonRetryableError(what);
  if (Number.isFinite(afterSeconds)) throw new RetryAfterError(what, afterSeconds * 1_000);
  throw new Error(what);
}
