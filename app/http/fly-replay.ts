/**
 * The header by which an app tells Fly's proxy to send a request to another Machine, and what the proxy tells about it
 * (https://fly.io/docs/networking/dynamic-request-routing). The proxy repeats the request whole, so what asks for it must
 * not have done anything; and one that comes back because it reached nobody cannot be replayed again.
 */

/**
 * Whether the request came by Fly's proxy, the only one that replays: over the private network it may have come around it.
 * The proxy adds these to each (https://fly.io/docs/networking/request-headers); of the second they say "always".
 */
export function cameByFly(headers: Pick<Headers, "get">): boolean {
  return ["fly-client-ip", "fly-forwarded-port", "fly-region"].some((name) => headers.get(name) !== null);
}

/** Fly's proxy repeats bodies of 1 MB at most; whether that is 1,000,000 or 1,048,576 its documents do not say. */
export const maxReplayedBytes = 1_000_000;

/** Where a request goes: to one Machine, to any of a region, or to any but this one. */
export type ReplayTarget =
  | { readonly instance: string }
  | { readonly region: string }
  | { readonly elsewhere: true };

/** The proxy tries to reach the target for so long. As soon as it has a connection the replay counts as done. */
const reachWithin = "5s";

/** `state` comes back in `fly-replay-src`. Undefined if the target's name is none of Fly's. */
export function flyReplay(target: ReplayTarget, state: string): string | undefined {
  const place = placeOf(target);
  return place === undefined
    ? undefined
    : `${place};state=${state};timeout=${reachWithin};fallback=prefer_self`;
}

function placeOf(target: ReplayTarget): string | undefined {
  if ("elsewhere" in target) return "elsewhere=true";
  if ("region" in target) return /^[a-z]{3}$/.test(target.region) ? `region=${target.region}` : undefined;
  return /^[0-9a-z]{1,64}$/.test(target.instance) ? `instance=${target.instance}` : undefined;
}

/** What a replay has failed of: then no connection was made, so nothing was done. */
export interface FailedReplay {
  /** The Machine that was to get it; undefined where none was named. */
  readonly instance: string | undefined;
  /** "refused": no Machine is there that could be reached. "silent": it was tried until time was up. */
  readonly how: "refused" | "silent";
}

/** Of the header `fly-replay-failed`. */
export function readFailedReplay(header: string): FailedReplay {
  const { instance, reason } = fieldsOf(header);
  const gone = reason === "no_candidate" || reason === "retries_exhausted";
  return { instance, how: gone ? "refused" : "silent" };
}

/** What was the `state`, by the header `fly-replay-src`. */
export function readReplayState(header: string): string | undefined {
  return fieldsOf(header).state;
}

/** `name=value`, separated by semicolons. */
function fieldsOf(header: string): Readonly<Record<string, string | undefined>> {
  return Object.fromEntries(
    header.split(";").flatMap((field) => {
      const [, name, value] = /^\s*([a-z_]+)=(.*?)\s*$/.exec(field) ?? [];
      return name === undefined || value === undefined ? [] : [[name, value.replace(/^"(.*)"$/, "$1")]];
    }),
  );
}
