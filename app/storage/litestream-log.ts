import { z } from "zod";

/** What this part of storage asks of a logger; pino's is one. */
export interface Logger {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

const maxLineLength = 4_096;
const keptLines = 10;

/** Litestream reports an empty list of databases as an error; here all are registered through its socket. */
const expectedMessage = "no databases specified in configuration";

/**
 * Hands Litestream's stderr to the log, line by line, its errors as warnings: what they mean for a tenant is said by
 * the sync that fails. Longer lines are cut. Keeps the last lines, so that an exit can be explained.
 */
export class LitestreamLog {
  readonly #log: Logger;
  #line = "";
  #last: string[] = [];

  constructor(log: Logger) {
    this.#log = log;
  }

  /** `text` may end anywhere in a line. */
  write(text: string): void {
    const lines = text.split("\n");
    for (const [index, part] of lines.entries()) {
      this.#line += part.slice(0, maxLineLength - this.#line.length);
      if (index < lines.length - 1) this.end();
    }
  }

  /** Ends the current line. */
  end(): void {
    const line = this.#line.trim();
    this.#line = "";
    if (line === "") return;
    const { level, message, fields } = parseLine(line);
    if (message === expectedMessage) return;
    this.#last = [...this.#last.slice(1 - keptLines), line];
    if (level === "info") this.#log.info(fields, `litestream: ${message}`);
    else this.#log.warn(fields, `litestream: ${message}`);
  }

  /** The last lines, oldest first; "" if there was none. */
  get lastLines(): string {
    return this.#last.join("\n");
  }
}

const jsonLine = z.record(z.string(), z.unknown());

interface Line {
  readonly level: "info" | "warn";
  readonly message: string;
  readonly fields: object;
}

/** The daemon writes JSON, the restore command `key=value` text, and a crash plain text. */
function parseLine(line: string): Line {
  const json = parseJson(line);
  if (json) {
    const { time: _time, level, msg, ...fields } = json;
    return { level: toLevel(level), message: typeof msg === "string" ? msg : "", fields };
  }
  return { level: toLevel(/\blevel=(\w+)/.exec(line)?.[1]), message: line, fields: {} };
}

function parseJson(line: string): Readonly<Record<string, unknown>> | undefined {
  if (!line.startsWith("{")) return undefined;
  try {
    return jsonLine.safeParse(JSON.parse(line)).data;
  } catch {
    return undefined;
  }
}

function toLevel(level: unknown): "info" | "warn" {
  return level === "INFO" || level === "DEBUG" || level === "TRACE" ? "info" : "warn";
}
