import { NulTextError, ParameterError } from "./errors.ts";

/** What a statement takes for a placeholder. Booleans become 1 and 0, dates their epoch milliseconds. */
export type SqlValue = null | string | number | bigint | boolean | Date | Uint8Array | ArrayBuffer;

/** What the native package is given: it ends the whole process when it meets some of the others. */
export type BoundValue = null | string | number | bigint | Uint8Array;

const maxInteger = 2n ** 63n - 1n;
const minInteger = -(2n ** 63n);

/**
 * Checks and converts the parameters of a statement that has `count` placeholders; throws a `ParameterError`. The number
 * must be right, because a kept statement would take a missing one from the call before it, silently.
 */
export function bindParameters(parameters: readonly unknown[], count: number): BoundValue[] {
  if (parameters.length !== count) {
    throw new ParameterError(
      `The statement has ${String(count)} placeholders and was given ${String(parameters.length)} parameters.`,
    );
  }
  return parameters.map(bind);
}

function bind(value: unknown, index: number): BoundValue {
  switch (typeof value) {
    case "string":
      // The native package reads text back only up to its first NUL.
      if (value.includes("\0"))
        throw new NulTextError(unusableMessage(index, "text with a NUL character; store it as bytes"));
      return value;
    case "number":
      // It would bind every number as a REAL, which columns without a numeric type keep and JSON shows as 1.0.
      if (Number.isSafeInteger(value)) return BigInt(value);
      if (!Number.isFinite(value)) throw unusable(index, String(value));
      return value;
    case "bigint":
      if (value > maxInteger || value < minInteger) throw unusable(index, "an integer of more than 64 bits");
      return value;
    case "boolean":
      return value ? 1n : 0n;
    case "object":
      return bindObject(value, index);
    case "undefined":
      throw unusable(index, "undefined; say null");
    case "symbol":
    case "function":
      break;
  }
  throw unusable(index, `a ${typeof value}`);
}

function bindObject(value: object | null, index: number): BoundValue {
  if (value === null || value instanceof Uint8Array) return value;
  if (value instanceof ArrayBuffer) return new Uint8Array(value);
  if (value instanceof Date) return bind(value.valueOf(), index);
  throw unusable(index, `an object (${value.constructor?.name ?? "without a prototype"})`);
}

function unusable(index: number, what: string): ParameterError {
  return new ParameterError(unusableMessage(index, what));
}

function unusableMessage(index: number, what: string): string {
  return `Parameter ${String(index + 1)} is ${what}, which SQLite cannot hold.`;
}

/** Strings, quoted names, comments and plain words first, so that a placeholder's sign inside them is not one. */
const lexeme =
  /'(?:[^']|'')*'|"(?:[^"]|"")*"|`(?:[^`]|``)*`|\[[^\]]*\]|--[^\n]*|\/\*[^]*?(?:\*\/|$)|[A-Za-z_\u0080-\uffff][\w$\u0080-\uffff]*|\?(\d*)|([:@$][\w$\u0080-\uffff]+)/g;

/** How many parameters the statement takes, by SQLite's rules for `?`, `?NNN` and `:name` (the package does not tell). */
export function countPlaceholders(sql: string): number {
  let highest = 0;
  const names = new Set<string>();
  for (const [, position, name] of sql.matchAll(lexeme)) {
    if (name !== undefined) {
      if (!names.has(name)) highest += 1;
      names.add(name);
    } else if (position !== undefined) {
      highest = position === "" ? highest + 1 : Math.max(highest, Number(position));
    }
  }
  return highest;
}
