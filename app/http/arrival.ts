import { readFailedReplay, readReplayState, type FailedReplay } from "./fly-replay.ts";

/** How requests reach another host: by Fly's proxy, which is told to replay them, or by this host as a reverse proxy. */
export type Routing = "fly" | "proxy";

/**
 * Why a request is sent to a host: it has the tenant, it is in the tenant's home region, or the host that had it is
 * stopping and knows no better.
 */
export type Errand = "holder" | "region" | "draining";

/**
 * How a request came to this host. From a host that was stopping it may go on once, to the tenant's holder; from any other it
 * goes nowhere, so that none passes more than three. A client can make up what says so, and gets a 503 at worst.
 */
export type Arrival =
  | { readonly kind: "first" | "handed-over" }
  /** `failed`: it has been here before, and reached nobody. */
  | { readonly kind: "forwarded"; readonly failed: FailedReplay | undefined };

/** `<host>;<errand>`, on a request that a host has sent on. */
export const forwardedHeader = "holdfast-forwarded";

/** On a 503 to a request that was sent on: the tenant is not here after all, and nothing was done. */
export const notHereHeader = "holdfast-not-here";

export function forwardedBy(hostId: string, errand: Errand): string {
  return `${hostId};${errand}`;
}

export function arrivalOf(headers: Pick<Headers, "get">, routing: Routing): Arrival {
  const failed = routing === "fly" ? headers.get("fly-replay-failed") : null;
  if (failed !== null) return { kind: "forwarded", failed: readFailedReplay(failed) };
  const source = routing === "fly" ? headers.get("fly-replay-src") : null;
  const errands = [
    headers.get(forwardedHeader)?.split(";")[1],
    source === null ? null : readReplayState(source),
  ];
  const isSent = headers.get(forwardedHeader) !== null || source !== null;
  if (!isSent) return { kind: "first" };
  const said = errands.filter((errand) => errand != null);
  return said.length > 0 && said.every((errand) => errand === ("draining" satisfies Errand))
    ? { kind: "handed-over" }
    : { kind: "forwarded", failed: undefined };
}
