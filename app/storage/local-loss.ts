import { closeSync, constants, fstatSync, openSync, readSync, statSync, writeSync } from "node:fs";
import { open, readdir, readFile, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import Database from "libsql";
import * as z from "zod";
import { checkFile } from "./check-file.ts";
import { errorCode } from "./error-code.ts";
import { ltxHeaderBytes, ltxWal } from "./ltx-files.ts";
import type { ObjectStore } from "./object-store.ts";
import { believedWalBytes } from "./wal-check.ts";

/** How far a file and its WAL had come when a round passed: what is less now has lost something that was acknowledged. */
const witness = z.object({
  mainBytes: z.number(),
  walBytes: z.number(),
  /** The WAL's first salt; SQLite adds one whenever the WAL starts anew (file format, section 4.1). */
  walSalt: z.number().nullable(),
});
type Witness = z.infer<typeof witness>;

/** `<min txid>-<max txid>.ltx`, wherever Litestream keeps it. */
const ltxName = /[0-9a-f]{16}-([0-9a-f]{16})\.ltx$/;
/** A WAL that started anew more often between two rounds is not believed. */
const maxRestarts = 2 ** 20;
const walHeaderBytes = 32;

/** A witness has always as many bytes, so that it is written over the one before in a single write, without a moment of none. */
const witnessBytes = 128;

/** To be called at every passed round, before anything rests on it: cheap, and in one write. */
export function leaveWitness(path: string): void {
  const { size: walBytes, salt: walSalt } = readWal(`${path}-wal`);
  const now: Witness = { mainBytes: statSync(path).size, walBytes, walSalt };
  // Not emptied first: ext4 takes that for a replacement, and begins to write to the disk when it is closed.
  const file = openSync(witnessPath(path), constants.O_WRONLY | constants.O_CREAT, 0o666);
  try {
    writeSync(file, JSON.stringify(now).padEnd(witnessBytes), 0);
  } finally {
    closeSync(file);
  }
}

/**
 * Leaves a file that nobody uses any more whole in itself: its WAL, which goes when the last handle is collected, moved
 * into it. Only for a file that Litestream has let go of, and when no commit can come: a checkpoint may race none.
 */
export function settleFile(path: string): void {
  try {
    const database = new Database(path);
    // What survives a loss of power is not used anyway, and syncs would keep the event loop for milliseconds.
    database.exec("PRAGMA synchronous = OFF; PRAGMA wal_checkpoint(TRUNCATE)");
    database.close();
    leaveWitness(path);
  } catch {
    // The disk may be full or gone: the file shows as not whole at its next use, and its replica is used.
  }
}

/**
 * What a file that nobody has open lacks of what was acknowledged on it, or null: a folder is a cache that may vanish in
 * part, be damaged, or be set back. `replica` names the store's folder of its epoch, if anything was acknowledged there.
 */
export async function findLocalLoss(
  path: string,
  store: ObjectStore,
  replica: string | null,
): Promise<string | null> {
  const before = await readWitness(path);
  if (before === undefined && replica !== null) return "it has no record of what was shipped";
  const shorter = before === undefined ? null : whatIsMissing(path, before);
  if (shorter !== null) return shorter;
  if (replica !== null) {
    const shipped = lastTxid(await store.list(`${replica}/`));
    const local = await shippedLocally(path);
    if (local < shipped) return `it ends at Litestream's txid ${local}, and the store has ${shipped}`;
  }
  if (await isWalDamaged(path, `${path}-wal`)) return "its WAL is damaged";
  return await checkFile(path, (await stat(path)).size, "libsql").then(
    () => null,
    (error: Error) => error.message,
  );
}

function whatIsMissing(path: string, before: Witness): string | null {
  if (sizeOf(path) < before.mainBytes) return "the file is shorter than it was";
  const salt = readWalSalt(`${path}-wal`);
  const restarts = salt === null || before.walSalt === null ? 0 : (salt - before.walSalt) >>> 0;
  if (before.walSalt !== null && salt === null) return "its WAL is gone";
  if (restarts > maxRestarts) return "its WAL is another one";
  return restarts === 0 && sizeOf(`${path}-wal`) < before.walBytes ? "its WAL is shorter than it was" : null;
}

/**
 * Whether SQLite would leave out something of the WAL that Litestream has shipped: damage in it is no error to SQLite, but
 * the WAL's end. What was shipped of a WAL before the one that is there has been moved into the file. `wal` is its name.
 */
export async function isWalDamaged(path: string, wal: string): Promise<boolean> {
  const { size, salt } = readWal(wal);
  if (size === 0) return false;
  const shipped = await shippedOfWal(path);
  const atLeast = shipped?.salt === salt ? Math.max(walHeaderBytes, shipped.endBytes) : walHeaderBytes;
  return (await believedWalBytes(wal, atLeast)) < atLeast;
}

/** Up to where Litestream has read which WAL, as the newest of its files beside the tenant's says. */
async function shippedOfWal(path: string): Promise<ReturnType<typeof ltxWal>> {
  const newest = (await ltxNames(path)).toSorted().at(-1);
  if (newest === undefined) return null;
  const file = await open(join(ltxFolder(path), newest), "r");
  try {
    const header = Buffer.alloc(ltxHeaderBytes);
    await file.read(header, 0, ltxHeaderBytes, 0);
    return ltxWal(header);
  } finally {
    await file.close();
  }
}

/** The last txid that Litestream has shipped of the file, as its metadata beside it says; 0 without any. */
export async function shippedLocally(path: string): Promise<number> {
  return lastTxid(await ltxNames(path));
}

async function ltxNames(path: string): Promise<readonly string[]> {
  const names = await readdir(ltxFolder(path)).catch(() => []);
  return names.filter((name) => ltxName.test(name));
}

function ltxFolder(path: string): string {
  return join(dirname(path), ".tenant.db-litestream/ltx/0");
}

function lastTxid(names: readonly string[]): number {
  return Math.max(0, ...names.map((name) => Number.parseInt(ltxName.exec(name)?.[1] ?? "0", 16)));
}

function witnessPath(path: string): string {
  return join(dirname(path), "shipped.json");
}

async function readWitness(path: string): Promise<Witness | undefined> {
  try {
    return witness.parse(JSON.parse(await readFile(witnessPath(path), "utf8")));
  } catch {
    return undefined;
  }
}

export function sizeOfFile(path: string): { readonly main: number; readonly wal: number } {
  return { main: sizeOf(path), wal: sizeOf(`${path}-wal`) };
}

function sizeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}

/** Null without a WAL. */
export function readWalSalt(path: string): number | null {
  return readWal(path).salt;
}

/** 0 and null without a WAL. The WAL is no file that SQLite locks, so reading it drops no lock. */
function readWal(path: string): { readonly size: number; readonly salt: number | null } {
  const file = openIfThere(path);
  if (file === null) return { size: 0, salt: null };
  try {
    const { size } = fstatSync(file);
    if (size < walHeaderBytes) return { size, salt: null };
    const header = Buffer.allocUnsafe(walHeaderBytes);
    readSync(file, header, 0, walHeaderBytes, 0);
    return { size, salt: header.readUInt32BE(16) };
  } finally {
    closeSync(file);
  }
}

function openIfThere(path: string): number | null {
  try {
    return openSync(path, "r");
  } catch (error) {
    if (errorCode(error) === "ENOENT") return null;
    throw error;
  }
}
