import { execFileSync } from "node:child_process";
import { mkdir, readFile, readdir, rename, rm, rmdir, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import Database from "libsql";
import * as z from "zod";

/** What stands beside an epoch's file, about the file. */
const epochNote = z.object({
  /** The kernel's life in which the file was written: `synchronous=NORMAL` does not survive a power loss. Null: never to be used again. */
  bootId: z.string().nullable(),
  /** What the file was made from, as the epoch's mark says or would have said. */
  from: z.object({ epoch: z.number(), txid: z.number().nullable() }),
  /** Set by a release: the store holds all that the file holds, at this txid of its epoch (null: nothing was written). */
  released: z.object({ txid: z.number().nullable() }).nullable(),
  /** Set while the file is parked: the store holds all that it holds, and the tenant was not given away. */
  parked: z.literal(true).optional(),
});
export type EpochNote = Readonly<z.infer<typeof epochNote>>;

export interface LocalEpoch {
  readonly epoch: number;
  readonly note: EpochNote;
}

/** Another process has the data folder. */
export class FolderLockedError extends Error {
  override readonly name = "FolderLockedError";
}

/** Handles of held locks: one that is collected would let its lock go. */
const held = new Set<Database.Database>();

/**
 * Holds the folder for this process until it ends, however it ends: an open exclusive transaction on `lock.db`, which
 * must never be opened by `fs` here (closing it would drop SQLite's lock). Throws FolderLockedError.
 */
export async function lockDataFolder(folder: string): Promise<() => void> {
  await mkdir(folder, { recursive: true });
  const lock = new Database(join(folder, "lock.db"));
  try {
    lock.exec("BEGIN EXCLUSIVE");
  } catch (error) {
    lock.close();
    throw new FolderLockedError(
      `The data folder ${folder} is in use by another process. Stop it, or set HOLDFAST_DATA to another folder.`,
      { cause: error },
    );
  }
  held.add(lock);
  return () => {
    if (!held.delete(lock)) return;
    lock.exec("ROLLBACK");
    lock.close();
  };
}

export function epochFolder(dataFolder: string, tenantId: string, epoch: number): string {
  return join(dataFolder, tenantId, `e${epoch}`);
}

export function epochFile(dataFolder: string, tenantId: string, epoch: number): string {
  return join(epochFolder(dataFolder, tenantId, epoch), "tenant.db");
}

/** The newest epoch of the tenant whose file is whole here, or undefined. */
export async function newestLocalEpoch(
  dataFolder: string,
  tenantId: string,
): Promise<LocalEpoch | undefined> {
  for (const epoch of (await localEpochs(dataFolder, tenantId)).toSorted((a, b) => b - a)) {
    const note = await readNote(dataFolder, tenantId, epoch);
    if (note !== undefined && (await exists(epochFile(dataFolder, tenantId, epoch)))) return { epoch, note };
  }
  return undefined;
}

/** Tenants with a file that an earlier life had open when it was ended, perhaps before it had shipped all. */
export async function unreleasedTenants(dataFolder: string): Promise<readonly string[]> {
  const tenants: string[] = [];
  for (const tenant of await tenantFolders(dataFolder)) {
    const newest = await newestLocalEpoch(dataFolder, tenant);
    if (newest !== undefined && mayHoldMore(newest.note)) tenants.push(tenant);
  }
  return tenants;
}

/** Every tenant that has a folder here, the one whose folder was changed longest ago first. */
export async function localTenants(dataFolder: string): Promise<readonly string[]> {
  const found: { readonly tenant: string; readonly changedAt: number }[] = [];
  for (const tenant of await tenantFolders(dataFolder)) {
    const changed = await stat(join(dataFolder, tenant)).catch(() => undefined);
    if (changed !== undefined) found.push({ tenant, changedAt: changed.mtimeMs });
  }
  return found.toSorted((a, b) => a.changedAt - b.changedAt).map(({ tenant }) => tenant);
}

/** Written beside the file before the file gets its name, so that a named file always has its note. */
export async function writeNote(
  dataFolder: string,
  tenantId: string,
  epoch: number,
  note: EpochNote,
): Promise<void> {
  const folder = epochFolder(dataFolder, tenantId, epoch);
  await mkdir(folder, { recursive: true });
  const path = join(folder, "epoch.json");
  await writeFile(`${path}.tmp`, JSON.stringify(note));
  await rename(`${path}.tmp`, path);
}

/** Removes what is left of the tenant's other epochs. */
export async function removeOtherEpochs(dataFolder: string, tenantId: string, keep: number): Promise<void> {
  for (const epoch of await localEpochs(dataFolder, tenantId))
    if (epoch !== keep) await rm(epochFolder(dataFolder, tenantId, epoch), { recursive: true, force: true });
}

/**
 * Deletes the tenant's file here if the store holds all of it, or nobody will use it again. True if nothing of it is left.
 * Only for a tenant that is not open.
 */
export async function evictFile(dataFolder: string, tenantId: string): Promise<boolean> {
  const newest = await newestLocalEpoch(dataFolder, tenantId);
  if (newest !== undefined && mayHoldMore(newest.note)) return false;
  for (const epoch of await localEpochs(dataFolder, tenantId)) {
    const folder = epochFolder(dataFolder, tenantId, epoch);
    // Without its note nobody takes what is left of it for a file, should this be cut off.
    await rm(join(folder, "epoch.json"), { force: true });
    await rm(folder, { recursive: true, force: true });
  }
  // What else lies there, such as notes of crashes, stays.
  await rmdir(join(dataFolder, tenantId)).catch(() => {});
  return true;
}

/** Whether the file may hold what the store does not, and may be used again. */
export function mayHoldMore({ bootId, released, parked }: EpochNote): boolean {
  return bootId !== null && released === null && parked !== true;
}

/** Bytes that the tenant's files take here, with what Litestream keeps of them; what has two names counts once. */
export async function localBytes(dataFolder: string, tenantId: string): Promise<number> {
  const folder = join(dataFolder, tenantId);
  const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => []);
  const files = entries.filter((entry) => entry.isFile());
  const found = await Promise.all(
    files.map(({ parentPath, name }) => stat(join(parentPath, name)).catch(() => null)),
  );
  const bytes = new Map(found.flatMap((file) => (file === null ? [] : [[file.ino, file.size]])));
  return [...bytes.values()].reduce((sum, size) => sum + size, 0);
}

/** Litestream's own metadata of a file; stale, it makes a new prefix stick. */
export async function removeLitestreamMetadata(
  dataFolder: string,
  tenantId: string,
  epoch: number,
): Promise<void> {
  const path = join(epochFolder(dataFolder, tenantId, epoch), ".tenant.db-litestream");
  await rm(path, { recursive: true, force: true });
}

/** Names this life of the kernel, or null where that cannot be told: then no file of an earlier process is trusted. */
export async function readBootId(): Promise<string | null> {
  if (process.platform === "linux") {
    return (await readFile("/proc/sys/kernel/random/boot_id", "utf8").catch(() => "")).trim() || null;
  }
  if (process.platform === "darwin") {
    return execFileSync("sysctl", ["-n", "kern.bootsessionuuid"], { encoding: "utf8" }).trim() || null;
  }
  return null;
}

/** A volume has folders of its own, such as lost+found, which this process may not even read. */
async function tenantFolders(dataFolder: string): Promise<readonly string[]> {
  const entries = await readdir(dataFolder, { withFileTypes: true });
  return entries.flatMap((entry) =>
    entry.isDirectory() && /^[a-z0-9-]+$/.test(entry.name) ? [entry.name] : [],
  );
}

async function localEpochs(dataFolder: string, tenantId: string): Promise<readonly number[]> {
  const names = await readdir(join(dataFolder, tenantId)).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return [];
    throw error;
  });
  return names.flatMap((name) => (/^e\d+$/.test(name) ? [Number(name.slice(1))] : []));
}

async function readNote(dataFolder: string, tenantId: string, epoch: number): Promise<EpochNote | undefined> {
  const path = join(epochFolder(dataFolder, tenantId, epoch), "epoch.json");
  try {
    return epochNote.parse(JSON.parse(await readFile(path, "utf8")));
  } catch {
    // No note, or a torn one: the file is not used, the replica is.
    return undefined;
  }
}

async function exists(path: string): Promise<boolean> {
  return await stat(path).then(
    () => true,
    () => false,
  );
}
