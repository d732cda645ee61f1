import { readFailedReplay, readReplayState, type FailedReplay } from "./fly-replay.ts";
import type { Marker } from "./marker.ts";

/** How requests reach another host: by Fly's proxy, which is told to replay them, or by this host as a reverse proxy. */
export type Routing = "fly" | "proxy";

/**
 * How a request came to this host. From a host that was stopping it may go on once, to the tenant's holder; from any other it
 * goes nowhere, so that none passes more than three. Only what a host has signed counts: what a client makes up is a first
 * arrival. (Whether Fly's proxy takes a client's own `fly-replay-failed` away is not documented; with one a client can have
 * its own tenant opened here.)
 */
export type Arrival =
  | { readonly kind: "first" | "handed-over" }
  /** `failed`: it has been here before, and reached nobody. */
  | { readonly kind: "forwarded"; readonly failed: FailedReplay | undefined }
  /** This host listens where another one did, for which the request was meant. */
  | { readonly kind: "misdirected"; readonly meant: string };

export interface ArrivalContext {
  readonly routing: Routing;
  /** Of this host. */
  readonly hostId: string;
  /** Undefined for what no host has signed. */
  readonly readMarker: (text: string) => Marker | undefined;
}

/** A marker, on a request that a host has sent on. */
export const forwardedHeader = "holdfast-forwarded";

/** On every answer: the host that gave it. */
export const hostHeader = "holdfast-host";

/** On an answer that another host gave: the last one that has passed it on. */
export const viaHeader = "holdfast-via";

/** On a 503, or a 421, to a request that was sent on: the tenant, or the host, is not here after all, and nothing was done. */
export const notHereHeader = "holdfast-not-here";

export function arrivalOf(
  headers: Pick<Headers, "get">,
  { routing, hostId, readMarker }: ArrivalContext,
): Arrival {
  const failed = routing === "fly" ? headers.get("fly-replay-failed") : null;
  if (failed !== null) return { kind: "forwarded", failed: readFailedReplay(failed) };
  const source = routing === "fly" ? headers.get("fly-replay-src") : null;
  const read = (text: string | null | undefined): Marker | undefined =>
    text == null ? undefined : readMarker(text);
  const sent = read(headers.get(forwardedHeader));
  const replayed = source === null ? undefined : read(readReplayState(source));
  // One that is meant for nobody in particular is Fly's proxy's to carry: who went around it has read it in the answer.
  const markers = [sent?.to === null ? undefined : sent, replayed].filter((marker) => marker !== undefined);
  if (markers.length === 0) return { kind: "first" };
  const meant = markers.find(({ to }) => to !== null && to !== hostId)?.to;
  if (meant != null) return { kind: "misdirected", meant };
  return markers.every(({ errand }) => errand === "draining")
    ? { kind: "handed-over" }
    : { kind: "forwarded", failed: undefined };
}
