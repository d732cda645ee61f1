import { mkdirSync, mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** Litestream 0.5 percent-encodes everything else in a file URL's path and then takes the result for the folder's name. */
const kept = /^[A-Za-z0-9\-_.~$&+,/:;=@!'()*[\]]*$/;
const aliases = new Map<string, string>();

/**
 * A path to `directory` (absolute) that means the same folder to Litestream: the path itself, or, if it holds a space or
 * another character that Litestream would change, a link in a temporary folder that lives as long as this process.
 * Throws if the system refuses the link.
 */
export function litestreamPath(directory: string): string {
  if (kept.test(directory)) return directory;
  const known = aliases.get(directory);
  if (known !== undefined) return known;
  const folder = mkdtempSync(join(tmpdir(), "holdfast-store-"));
  const alias = join(folder, "store");
  if (!kept.test(alias))
    throw new Error(
      `Litestream cannot use the folder "${directory}", and TMPDIR, where a link to it would go, is no better.`,
    );
  // Litestream makes missing folders itself, but not behind a link.
  mkdirSync(directory, { recursive: true });
  symlinkSync(directory, alias);
  process.once("exit", () => rmSync(folder, { recursive: true, force: true }));
  aliases.set(directory, alias);
  return alias;
}
