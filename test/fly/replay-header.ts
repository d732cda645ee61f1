import { parseDuration } from "../../app/engine/duration.ts";

/** What `fly-replay` asks for; null where it says nothing. Source: Fly's document networking/dynamic-request-routing. */
export interface Replay {
  readonly instance: string | null;
  /** In order of preference; `any` is every region. Fly's other groups, such as `eu`, are not known here. */
  readonly regions: readonly string[] | null;
  readonly elsewhere: boolean;
  readonly state: string | null;
  readonly timeoutMs: number | null;
  readonly fallback: "prefer_self" | "force_self" | null;
}

/** Fly's error PA03, or PA04 for an app that there is not. */
export class MalformedReplayError extends Error {
  override readonly name = "MalformedReplayError";
  readonly code: "PA03" | "PA04";
  constructor(what: string, code: "PA03" | "PA04" = "PA03") {
    super(what);
    this.code = code;
  }
}

/**
 * Reads `region="sjc,any";instance=ID;elsewhere=true;state=…;timeout=5s;fallback=prefer_self`. What Fly does with a field
 * that it does not know, or with one that comes twice, is not documented; here the header is malformed then.
 * `prefer_instance` is documented, but nothing here needs it. Throws MalformedReplayError.
 */
export function parseReplay(header: string, appName: string): Replay {
  const fields = readFields(header);
  const app = fields.get("app");
  if (app !== undefined && app !== appName)
    throw new MalformedReplayError(`there is no app "${app}"`, "PA04");
  const elsewhere = oneOf(fields, "elsewhere", ["true", "false"]);
  return {
    instance: fields.get("instance") ?? null,
    regions:
      fields
        .get("region")
        ?.split(",")
        .map((region) => region.trim()) ?? null,
    elsewhere: elsewhere === "true",
    state: fields.get("state") ?? null,
    timeoutMs: timeoutOf(fields.get("timeout")),
    fallback: oneOf(fields, "fallback", ["prefer_self", "force_self"]),
  };
}

/** `fly-replay-src`; `t` is in microseconds since the epoch. Whether Fly leaves out a state that was not given is not documented. */
export function replaySource(replay: Replay, from: { readonly id: string; readonly region: string }): string {
  const state = replay.state === null ? "" : `;state=${replay.state}`;
  return `instance=${from.id};region=${from.region};t=${Date.now() * 1_000}${state}`;
}

export type ReplayFailure = "timeout" | "retries_exhausted" | "no_candidate";

/** `fly-replay-failed`. Whether Fly leaves out what the replay did not name is not documented; here it is left out. */
export function replayFailed(failure: {
  readonly replay: Replay;
  readonly appName: string;
  readonly source: string;
  readonly reason: ReplayFailure;
  readonly elapsedMs: number;
}): string {
  const { replay, appName, source, reason, elapsedMs } = failure;
  return [
    ...(replay.instance === null ? [] : [`instance=${replay.instance}`]),
    `app=${appName}`,
    ...(replay.regions === null ? [] : [`region=${replay.regions.join(",")}`]),
    `replay_source=${source}`,
    `reason=${reason}`,
    `elapsed_ms=${Math.round(elapsedMs)}`,
  ].join(";");
}

const names = ["region", "instance", "app", "state", "elsewhere", "timeout", "fallback"];

function readFields(header: string): ReadonlyMap<string, string> {
  const fields = new Map<string, string>();
  const field = /\s*(?<name>[a-z_]+)\s*=\s*(?:"(?<quoted>[^"]*)"|(?<bare>[^";,]*))\s*(?:;|$)/y;
  while (field.lastIndex < header.length) {
    const { name = "", quoted, bare = "" } = field.exec(header)?.groups ?? {};
    if (!names.includes(name) || fields.has(name))
      throw new MalformedReplayError(`"${header}" is no fly-replay header that is known here`);
    fields.set(name, quoted ?? bare.trim());
  }
  return fields;
}

function oneOf<Value extends string>(
  fields: ReadonlyMap<string, string>,
  name: string,
  values: readonly Value[],
): Value | null {
  const text = fields.get(name);
  const value = values.find((each) => each === text);
  if (text !== undefined && value === undefined)
    throw new MalformedReplayError(`${name} is "${text}", not one of ${values.join(", ")}`);
  return value ?? null;
}

function timeoutOf(text: string | undefined): number | null {
  if (text === undefined) return null;
  if (!/^\d+(ms|s|m)$/.test(text)) throw new MalformedReplayError(`timeout is "${text}"`);
  return parseDuration(text, "timeout");
}
