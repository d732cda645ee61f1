import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";

/** Litestream 0.5.0 to 0.5.7 lose data or stop silently; no version before this one was tried with the gate. */
export const oldestLitestream = "0.5.17";

const versionTimeoutMs = 10_000;

/**
 * The Litestream to run: the configured one, else what `npm run setup` put into `.cache/bin`, else the one on PATH (then
 * the answer is the bare name). Where a path is configured, no other one is used in its place.
 */
export function locateLitestream(configured: string | undefined, projectRoot: string): string {
  const cached = join(projectRoot, ".cache/bin/litestream");
  return configured ?? (existsSync(cached) ? cached : "litestream");
}

/** Throws LitestreamBinaryError if there is none, or it does not run, or it is older than `oldestLitestream`. */
export async function checkLitestream(binary: string): Promise<void> {
  let told: string;
  try {
    told = (await promisify(execFile)(binary, ["version"], { timeout: versionTimeoutMs })).stdout;
  } catch (cause) {
    throw new LitestreamBinaryError(`Litestream was not found, or does not run, as "${binary}"`, { cause });
  }
  requireNewEnough(binary, told);
}

/** `told` is what it says of its version. Throws LitestreamBinaryError. */
export function requireNewEnough(binary: string, told: string): void {
  const version = /\d+\.\d+\.\d+/.exec(told)?.[0];
  if (version === undefined) {
    throw new LitestreamBinaryError(`"${binary}" does not say which Litestream it is, but "${told.trim()}"`);
  }
  if (isOlder(version, oldestLitestream)) {
    throw new LitestreamBinaryError(
      `"${binary}" is Litestream ${version}; ${oldestLitestream} or newer is needed`,
    );
  }
}

export class LitestreamBinaryError extends Error {
  override readonly name = "LitestreamBinaryError";
  constructor(what: string, options?: ErrorOptions) {
    super(`${what}. Run \`npm run setup\`, or set HOLDFAST_LITESTREAM to the path of a newer one.`, options);
  }
}

/** By numbers: to compare by a language's rules, as `localeCompare` does, loads those first, which takes 7 ms of the start. */
function isOlder(version: string, than: string): boolean {
  const [ours, theirs] = [version, than].map((text) => text.split(".").map(Number)) as [number[], number[]];
  const at = ours.findIndex((part, i) => part !== theirs[i]);
  return at >= 0 && (ours[at] ?? 0) < (theirs[at] ?? 0);
}
