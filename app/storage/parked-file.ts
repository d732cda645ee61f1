import { linkSync, renameSync, rmSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import Database from "libsql";
import { isWalDamaged, leaveWitness, readWalSalt, shippedLocally } from "./local-loss.ts";

/** How a file was left that nobody is to write. */
export interface ParkedFile {
  readonly inode: number;
  readonly mainBytes: number;
  /** Null without a WAL. */
  readonly wal: string | null;
  /** The last txid that Litestream has shipped of it. */
  readonly shipped: number;
}

/** Keeps the WAL of a file in its place. */
export interface WalHold {
  release(): void;
}

/** What became of a file that was put aside. `hold` is to be released once the file is open, or not wanted any more. */
export type TakenBack =
  | { readonly kind: "whole"; readonly hold: WalHold }
  | { readonly kind: "lost"; readonly why: string };

/**
 * Keeps the WAL in its place although all others close the file, until it is set aside: whoever closes a file last
 * deletes its WAL. The handle only reads; it has no statement that would outlive it.
 */
export function holdWal(path: string): WalHold {
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

/**
 * Makes a file that was put aside whole again, and keeps it so until it is open, or says what it lacks. The end of the last
 * handle of before may have made it longer, at most.
 */
export async function takeBack(path: string, parked: ParkedFile): Promise<TakenBack> {
  const why = await findChange(path, parked);
  if (why !== null) return { kind: "lost", why };
  try {
    return { kind: "whole", hold: returnWal(path) };
  } catch (error) {
    return { kind: "lost", why: `it cannot be opened: ${(error as Error).message}` };
  }
}

async function findChange(path: string, parked: ParkedFile): Promise<string | null> {
  const now = statSync(path, { throwIfNoEntry: false });
  if (now === undefined) return "the file is gone";
  if (now.ino !== parked.inode) return "the file is another one";
  if (now.size < parked.mainBytes) return "the file is shorter than it was";
  const aside = asideWal(path);
  if (describeWal(aside) !== parked.wal) return "its WAL is not as it was";
  const wal = describeWal(`${path}-wal`);
  if (wal !== null && wal !== parked.wal) return "somebody has written to it";
  const shipped = await shippedLocally(path);
  if (shipped !== parked.shipped)
    return `it ends at Litestream's txid ${shipped}, and was parked at ${parked.shipped}`;
  return (await isWalDamaged(path, aside)) ? "its WAL is damaged" : null;
}

/**
 * Gives a WAL that was put aside its own name, and keeps it there: to be called before anyone opens the file. A handle that
 * was closed, and is collected only now, would delete it under whoever looks at it. Throws if the file cannot be opened.
 */
export function returnWal(path: string): WalHold {
  const aside = asideWal(path);
  // Only the last handle takes the WAL's own name away, so that none is left which could do it again.
  if (describeWal(`${path}-wal`) === null && describeWal(aside) !== null) renameSync(aside, `${path}-wal`);
  const hold = holdWal(path);
  rmSync(aside, { force: true });
  return hold;
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
