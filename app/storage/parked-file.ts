import { linkSync, renameSync, rmSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import Database from "libsql";
import { leaveWitness, readWalSalt, shippedLocally } from "./local-loss.ts";

/** How a file was left that nobody is to write. */
export interface ParkedFile {
  readonly inode: number;
  readonly mainBytes: number;
  /** Null without a WAL. */
  readonly wal: string | null;
  /** The last txid that Litestream has shipped of it. */
  readonly shipped: number;
}

/**
 * Keeps the WAL in its place although all others close the file, until it is set aside: whoever closes a file last
 * deletes its WAL. The handle only reads; it has no statement that would outlive it.
 */
export function holdWal(path: string): { release(): void } {
  const handle = new Database(path);
  try {
    // Without syncs: what survives a loss of power is not used anyway, and they would keep the event loop for milliseconds.
    handle.exec(
      "PRAGMA wal_autocheckpoint = 0; PRAGMA synchronous = OFF; SELECT 1 FROM sqlite_schema LIMIT 1",
    );
  } catch (error) {
    handle.close();
    throw error;
  }
  return { release: () => handle.close() };
}

/**
 * Puts a file aside that was closed here and that Litestream has let go of. Its WAL gets a second name, since it goes with
 * the last handle, which may be closed as late as it is collected. Without it Litestream would have to ship the whole file
 * anew after the next write. Until then, and afterwards by what that handle moves into it, the file is whole.
 */
export async function setAside(path: string): Promise<ParkedFile> {
  const shipped = await shippedLocally(path);
  leaveWitness(path);
  const { ino, size } = statSync(path);
  const wal = describeWal(`${path}-wal`);
  rmSync(asideWal(path), { force: true });
  if (wal !== null) giveSecondName(`${path}-wal`, asideWal(path));
  return { inode: ino, mainBytes: size, wal, shipped };
}

/** Makes a file that was put aside whole again, or gives what it lacks. The handle's end may have made it longer, at most. */
export async function takeBack(path: string, parked: ParkedFile): Promise<string | null> {
  const now = statSync(path, { throwIfNoEntry: false });
  if (now === undefined) return "the file is gone";
  if (now.ino !== parked.inode) return "the file is another one";
  if (now.size < parked.mainBytes) return "the file is shorter than it was";
  if (describeWal(asideWal(path)) !== parked.wal) return "its WAL is not as it was";
  const wal = describeWal(`${path}-wal`);
  if (wal !== null && wal !== parked.wal) return "somebody has written to it";
  const shipped = await shippedLocally(path);
  if (shipped !== parked.shipped)
    return `it ends at Litestream's txid ${shipped}, and was parked at ${parked.shipped}`;
  returnWal(path);
  return null;
}

/** A WAL that was put aside belongs to its file: to be called before anyone opens the file. */
export function returnWal(path: string): void {
  const aside = asideWal(path);
  if (describeWal(aside) === null) return;
  if (describeWal(`${path}-wal`) === null) renameSync(aside, `${path}-wal`);
  else rmSync(aside);
}

/** Which file it is, how long, since when, and its salt: the same as long as nobody writes to it. */
function describeWal(path: string): string | null {
  const found = statSync(path, { throwIfNoEntry: false });
  if (found === undefined || found.size === 0) return null;
  return `${found.ino} ${found.size} ${found.mtimeMs} ${readWalSalt(path)}`;
}

/** Where files cannot have two names, the WAL has just the new one, and readers from outside miss what is in it. */
function giveSecondName(path: string, second: string): void {
  try {
    linkSync(path, second);
  } catch {
    renameSync(path, second);
  }
}

function asideWal(path: string): string {
  return join(dirname(path), "parked.wal");
}
