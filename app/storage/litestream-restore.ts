import { lstat, rm, stat } from "node:fs/promises";
import { z } from "zod";
import { errorCode } from "./error-code.ts";
import type { Logger } from "./litestream-log.ts";
import { startLitestream, type Environment } from "./litestream-process.ts";

/** A restore that failed; nothing stands at the output path, and nothing was changed. */
export class RestoreError extends Error {
  override readonly name: string = "RestoreError";
  readonly replicaUrl: string;
  /** Whether it tells nothing of the replica: it was cut off, or disk or store were not up to it. */
  readonly isPassing: boolean;
  constructor(
    replicaUrl: string,
    why: string,
    { isPassing = false, ...options }: ErrorOptions & { readonly isPassing?: boolean } = {},
  ) {
    super(`The restore from "${replicaUrl}" failed: ${why}`, options);
    this.replicaUrl = replicaUrl;
    this.isPassing = isPassing;
  }
}

/** What Litestream's last words have in them when this Machine or the way to the store is to blame. */
const passingTrouble =
  /no space left|disk quota|too many open files|cannot allocate|connection (?:refused|reset)|broken pipe|timeout|timed out|deadline exceeded|no such host|unreachable|StatusCode: 5\d\d|SlowDown|unexpected EOF/i;

/** The replica holds nothing at all, or, where a txid was asked for, nothing that leads up to it. */
export class ReplicaMissingError extends RestoreError {
  override readonly name = "ReplicaMissingError";
}

const restored = z.object({ txid: z.string().regex(/^[0-9a-f]{16}$/) });

/**
 * Restores a replica to `outputPath`, a scratch name at which nothing may stand, and answers with the txid that the
 * replica had reached when the restore began; the file is at least that new, or exactly as new as a given `txid`.
 * The caller checks the file's integrity: Litestream would rename it into place before it did.
 */
export async function restoreReplica(options: {
  readonly binary: string;
  readonly replicaUrl: string;
  readonly outputPath: string;
  readonly environment: Environment;
  readonly log: Logger;
  readonly timeoutMs: number;
  readonly txid?: number;
}): Promise<{ readonly txid: number }> {
  const { replicaUrl, outputPath } = options;
  if (await exists(outputPath)) throw new RestoreError(replicaUrl, `"${outputPath}" exists already`);
  try {
    const { txid } = await runRestore(options);
    const { size } = await stat(outputPath);
    if (size === 0) throw new RestoreError(replicaUrl, `Litestream left an empty file at "${outputPath}"`);
    return { txid };
  } catch (error) {
    await rm(outputPath, { force: true });
    // Litestream writes to this name first, and leaves it there when it is killed.
    await rm(`${outputPath}.tmp`, { force: true });
    if (error instanceof RestoreError) throw error;
    throw new RestoreError(replicaUrl, error instanceof Error ? error.message : String(error), {
      cause: error,
      isPassing: errorCode(error) !== undefined,
    });
  }
}

async function runRestore(options: Parameters<typeof restoreReplica>[0]): Promise<{ readonly txid: number }> {
  const { replicaUrl, outputPath, timeoutMs } = options;
  const litestream = await startLitestream({
    binary: options.binary,
    arguments: ["restore", "-json", "-o", outputPath, ...txidArguments(options.txid), replicaUrl],
    environment: options.environment,
    log: options.log,
  });
  let timedOut = false;
  const timer = setTimeout(() => {
    timedOut = true;
    litestream.kill("SIGKILL");
  }, timeoutMs);
  const end = await litestream.ended;
  clearTimeout(timer);
  if (timedOut)
    throw new RestoreError(replicaUrl, `it took longer than ${timeoutMs} ms`, { isPassing: true });
  if (litestream.exitCode() !== 0) {
    if (end.includes("no matching backup files available")) {
      const what =
        options.txid === undefined ? "no backup" : `no backup that leads up to txid ${options.txid}`;
      throw new ReplicaMissingError(replicaUrl, `there is ${what}`);
    }
    const isPassing = litestream.exitCode() === null || passingTrouble.test(end);
    throw new RestoreError(replicaUrl, end, { isPassing });
  }
  return { txid: readTxid(litestream.output()) };
}

function txidArguments(txid: number | undefined): readonly string[] {
  return txid === undefined ? [] : ["-txid", txid.toString(16).padStart(16, "0")];
}

function readTxid(output: string): number {
  return Number.parseInt(restored.parse(JSON.parse(output)).txid, 16);
}

async function exists(path: string): Promise<boolean> {
  try {
    await lstat(path);
    return true;
  } catch (error) {
    if (errorCode(error) === "ENOENT") return false;
    throw error;
  }
}
