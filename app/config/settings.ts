import { parseDuration } from "../engine/duration.ts";

export const logLevels = ["fatal", "error", "warn", "info", "debug", "trace", "silent"] as const;
export type LogLevel = (typeof logLevels)[number];

/** Lists every setting that is missing or wrong, one a line, and holds no value of a secret. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
  readonly problems: readonly string[];
  constructor(problems: readonly string[]) {
    super(problems.join("\n"));
    this.problems = problems;
  }
}

/** Reads single settings and collects what is wrong with them, so that one start shows all of it. */
export class Settings {
  readonly problems: string[] = [];
  readonly onFly: boolean;
  readonly #environment: NodeJS.ProcessEnv;

  constructor(environment: NodeJS.ProcessEnv) {
    this.#environment = environment;
    this.onFly = this.text("FLY_APP_NAME") !== undefined;
  }

  /** Empty counts as unset: that is how an .env file or a CI variable leaves a setting out. */
  text(name: string): string | undefined {
    const value = this.#environment[name]?.trim();
    return value === "" ? undefined : value;
  }

  /** `example` is what `fly secrets set NAME=` would be given. */
  refuse(name: string, what: string, example = "…"): void {
    this.problems.push(
      `${name} ${what}.${this.onFly ? ` Mend it by: fly secrets set ${name}=${example}` : ""}`,
    );
  }

  oneOf<Value extends string>(name: string, values: readonly Value[], byDefault: Value): Value {
    const text = this.text(name);
    if (text === undefined) return byDefault;
    const value = values.find((candidate) => candidate === text);
    if (value !== undefined) return value;
    this.refuse(name, `must be one of ${values.join(", ")}; it is ${quoted(text)}`, byDefault);
    return byDefault;
  }

  wholeNumber(name: string, bounds: { default: number; min: number; max: number }): number {
    const text = this.text(name);
    if (text === undefined) return bounds.default;
    const value = /^\d{1,9}$/.test(text) ? Number(text) : Number.NaN;
    if (value >= bounds.min && value <= bounds.max) return value;
    this.refuse(
      name,
      `must be a whole number from ${bounds.min} to ${bounds.max}; it is ${quoted(text)}`,
      String(bounds.default),
    );
    return bounds.default;
  }

  duration(name: string, bounds: { default: string; min: string; max: string }): number {
    const byDefault = parseDuration(bounds.default, name);
    const text = this.text(name);
    if (text === undefined) return byDefault;
    try {
      const value = parseDuration(text, name);
      if (value >= parseDuration(bounds.min, name) && value <= parseDuration(bounds.max, name)) return value;
    } catch {
      // The line below says what is wrong, and names the bounds as well.
    }
    this.refuse(
      name,
      `must be a duration such as "15s" or "1h", from ${bounds.min} to ${bounds.max}; it is ${quoted(text)}`,
      bounds.default,
    );
    return byDefault;
  }

  /** Null, which is the default, is written as `never`. */
  durationOrNever(name: string, bounds: { min: string; max: string }): number | null {
    const text = this.text(name);
    if (text === undefined || text === "never") return null;
    return this.duration(name, { default: bounds.max, ...bounds });
  }

  /** A number of bytes such as `512MB`, in powers of 1,000, or of 1,024 as `1GiB`; null is written as `unlimited`. */
  bytesOrUnlimited(name: string, byDefault: string): number | null {
    const text = this.text(name) ?? byDefault;
    if (text === "unlimited") return null;
    const match = /^(?<number>\d{1,9}(?:\.\d{1,3})?) ?(?:(?<unit>[KMGT])(?<binary>i?)B)$/.exec(text);
    const { number, unit, binary } = match?.groups ?? {};
    if (unit !== undefined)
      return Math.round(Number(number) * (binary === "i" ? 1_024 : 1_000) ** " KMGT".indexOf(unit));
    this.refuse(
      name,
      `must be a size such as "512MB" or "10GB", or "unlimited"; it is ${quoted(text)}`,
      byDefault,
    );
    return null;
  }
}

/** An http(s) URL that holds no credentials. */
export function isHttpUrl(text: string): boolean {
  if (!URL.canParse(text)) return false;
  const url = new URL(text);
  return ["http:", "https:"].includes(url.protocol) && url.username === "" && url.password === "";
}

/** Only for settings that are no secret. */
export function quoted(text: string): string {
  return JSON.stringify(text.length > 60 ? `${text.slice(0, 60)}…` : text);
}
