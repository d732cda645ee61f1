import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { chmod, lstat, mkdir, rm } from "node:fs/promises";
import { tmpdir, userInfo } from "node:os";
import { join, resolve } from "node:path";
import { errorCode } from "./error-code.ts";

/** Where the Litestream of one data folder can be reached, and found again by a later life of this host. */
export interface LitestreamSocket {
  readonly folder: string;
  readonly socketPath: string;
  /** Holds the process id of the Litestream that was started last. */
  readonly pidPath: string;
}

/**
 * The paths follow from the user and the absolute data folder alone: a later life finds them although the data folder
 * was wiped. They stay far below the length at which paths of unix sockets end, near 108 bytes.
 */
export function locateLitestreamSocket(dataFolder: string): LitestreamSocket {
  const hash = createHash("sha256").update(resolve(dataFolder)).digest("hex").slice(0, 16);
  const folder = join(root(), `holdfast-${userInfo().uid}-${hash}`);
  return { folder, socketPath: join(folder, "litestream.sock"), pidPath: join(folder, "litestream.pid") };
}

/** Makes the socket's folder, or proves that the one that is there belongs to this user alone. */
export async function makeSocketFolder(socket: LitestreamSocket): Promise<void> {
  try {
    await mkdir(socket.folder, { mode: 0o700 });
  } catch (error) {
    if (errorCode(error) !== "EEXIST") throw error;
  }
  const status = await lstat(socket.folder);
  if (!status.isDirectory() || status.uid !== userInfo().uid) {
    throw new Error(
      `"${socket.folder}", where Litestream's control socket goes, is not a folder of this user. Remove it and start again.`,
    );
  }
  if ((status.mode & 0o777) !== 0o700) await chmod(socket.folder, 0o700);
}

export async function removeSocketFolder(socket: LitestreamSocket): Promise<void> {
  await rm(socket.folder, { recursive: true, force: true });
}

/** TMPDIR may differ from start to start, and be too long; /tmp is neither. */
function root(): string {
  return existsSync("/tmp") ? "/tmp" : tmpdir();
}
