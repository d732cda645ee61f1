import { NonRetryableError } from "holdfast";

let url: string | null = null;

/** Called once by the composition root, before any agent runs. */
export function configureRefund(settings: { readonly url: string | null }): void {
  url = settings.url;
}

/** The service that pays refunds. Throws NonRetryableError if there is none. */
export function refundUrl(): string {
  if (url === null)
    throw new NonRetryableError("REFUND_URL is not set: it is the URL of the service that pays refunds.");
  return url;
}
