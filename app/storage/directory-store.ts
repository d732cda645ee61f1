import { createHash, randomUUID } from "node:crypto";
import { mkdir, open, readFile, readdir, rename, rm, rmdir, stat, unlink } from "node:fs/promises";
import type { Dirent } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { errorCode } from "./error-code.ts";
import { checkKeyPrefix, checkObjectKey, sortKeys } from "./object-key.ts";
import {
  maxListedKeys,
  maxObjectBytes,
  PreconditionFailedError,
  StoreUnavailableError,
} from "./object-store.ts";
import type { ObjectStore, PutCondition, StoredObject } from "./object-store.ts";
import { litestreamPath } from "./litestream-path.ts";
import { StoreLock } from "./store-lock.ts";

/** Holds what is not an object: the lock, and bodies that are still being written. */
const ownFolder = ".store";
const abandonedAfterMs = 3_600_000;

export interface DirectoryStoreOptions {
  /** How long a write waits for the lock; 5 s by default. */
  readonly lockWaitMs?: number;
}

/**
 * Objects as files in a folder of a local disk, for one machine. An object's tag is the hash of its content. All changes
 * are made under one lock, so that a conditional put compares and swaps; Litestream writes its replicas into the same tree
 * without it, under keys that nothing else puts. One key cannot be another's folder ("a" and "a/b").
 */
export class DirectoryStore implements ObjectStore {
  readonly description: string;
  readonly #root: string;
  readonly #lock: StoreLock;
  #swept: Promise<void> | undefined;

  /** `directory` is made when the first object is written. */
  constructor(directory: string, options: DirectoryStoreOptions = {}) {
    this.#root = resolve(directory);
    this.description = `file:${this.#root}`;
    this.#lock = new StoreLock(join(this.#root, ownFolder, "lock.db"), options.lockWaitMs ?? 5_000);
  }

  async get(key: string): Promise<StoredObject | undefined> {
    const path = this.#path(key);
    return this.#attempt("read", key, () => this.#read(path));
  }

  async put(
    key: string,
    body: Uint8Array | string,
    condition?: PutCondition,
  ): Promise<{ readonly etag: string }> {
    const path = this.#path(key);
    const bytes = typeof body === "string" ? Buffer.from(body) : body;
    if (bytes.byteLength > maxObjectBytes)
      throw new TypeError(`The object "${key}" is larger than ${maxObjectBytes} bytes.`);
    return this.#attempt("write", key, async () => {
      const incoming = await this.#writeIncoming(bytes);
      try {
        await this.#lock.hold(async () => {
          if (condition !== undefined) await this.#require(condition, key, path);
          await makeFolder(dirname(path));
          await rename(incoming, path);
        });
        // Outside the lock: whoever replaces this object syncs the same folder before answering.
        await syncFolder(dirname(path));
      } finally {
        await rm(incoming, { force: true });
      }
      return { etag: etagOf(bytes) };
    });
  }

  async delete(key: string): Promise<void> {
    const path = this.#path(key);
    await this.#attempt("delete", key, async () => {
      if (!(await exists(path))) return this.#requireFolder();
      const changed = await this.#lock.hold(async () => {
        await removeFile(path);
        return this.#removeEmptyFolders(dirname(path));
      });
      await syncFolder(changed);
    });
  }

  async list(prefix: string): Promise<readonly string[]> {
    checkKeyPrefix(prefix);
    const keys: string[] = [];
    const folders = [prefix.slice(0, prefix.lastIndexOf("/") + 1)];
    for (let folder = folders.pop(); folder !== undefined; folder = folders.pop()) {
      for (const entry of await this.#attempt("list", prefix, () => this.#entries(folder))) {
        const key = folder + entry.name;
        if (isOwn(key)) continue;
        if (entry.isFile() && key.startsWith(prefix)) keys.push(key);
        if (entry.isDirectory() && `${key}/`.startsWith(prefix)) folders.push(`${key}/`);
      }
      if (keys.length > maxListedKeys)
        throw new StoreUnavailableError(`More than ${maxListedKeys} objects start with "${prefix}".`);
    }
    return sortKeys(keys);
  }

  replicaUrl(path: string): string {
    checkObjectKey(path);
    return `file://${litestreamPath(this.#root)}/${path}`;
  }

  #path(key: string): string {
    checkObjectKey(key);
    if (isOwn(key))
      throw new TypeError(`The object key "${key}" lies in the store's own folder "${ownFolder}".`);
    return join(this.#root, key);
  }

  async #read(path: string): Promise<StoredObject | undefined> {
    try {
      const body = await readFile(path);
      return { body, etag: etagOf(body) };
    } catch (error) {
      if (!isAbsence(error)) throw error;
      await this.#requireFolder();
      return undefined;
    }
  }

  async #require(condition: PutCondition, key: string, path: string): Promise<void> {
    const current = await this.#read(path);
    const holds =
      condition.ifMatch === undefined ? current === undefined : current?.etag === condition.ifMatch;
    if (!holds) throw new PreconditionFailedError(key);
  }

  /** Answers the path of a file, on the objects' own file system, that holds `bytes` for good. */
  async #writeIncoming(bytes: Uint8Array): Promise<string> {
    const folder = join(this.#root, ownFolder, "incoming");
    await makeFolder(folder);
    // Housekeeping, which no write fails for.
    this.#swept ??= removeAbandoned(folder).catch(() => undefined);
    await this.#swept;
    const path = join(folder, randomUUID());
    const file = await open(path, "wx");
    try {
      await file.writeFile(bytes);
      await file.sync();
    } catch (error) {
      await rm(path, { force: true });
      throw error;
    } finally {
      await file.close();
    }
    return path;
  }

  async #entries(folder: string): Promise<readonly Dirent[]> {
    try {
      return await readdir(join(this.#root, folder), { withFileTypes: true });
    } catch (error) {
      if (!isAbsence(error)) throw error;
      await this.#requireFolder();
      return [];
    }
  }

  /** A store that was never written has no folder yet; anything else in its place is not an empty store. */
  async #requireFolder(): Promise<void> {
    const found = await stat(this.#root).catch((error: unknown) => {
      if (isMissing(error)) return undefined;
      throw error;
    });
    if (found !== undefined && !found.isDirectory()) throw new Error("the store is not a folder");
  }

  /** Minutes of wakes would pile up as empty folders otherwise. Answers the nearest folder that stays. */
  async #removeEmptyFolders(folder: string): Promise<string> {
    for (let current = folder; current !== this.#root; current = dirname(current)) {
      try {
        await rmdir(current);
      } catch {
        return current;
      }
    }
    return this.#root;
  }

  async #attempt<T>(verb: string, key: string, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      if (error instanceof PreconditionFailedError || error instanceof StoreUnavailableError) throw error;
      const why = error instanceof Error ? error.message : String(error);
      throw new StoreUnavailableError(`The store ${this.description} could not ${verb} "${key}": ${why}.`, {
        cause: error,
      });
    }
  }
}

function isOwn(key: string): boolean {
  return key === ownFolder || key.startsWith(`${ownFolder}/`);
}

function etagOf(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

async function exists(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isFile();
  } catch (error) {
    if (isAbsence(error)) return false;
    throw error;
  }
}

async function removeFile(path: string): Promise<void> {
  try {
    await unlink(path);
  } catch (error) {
    if (!isAbsence(error)) throw error;
  }
}

/** Bodies whose writer died before they had a name. */
async function removeAbandoned(folder: string): Promise<void> {
  for (const name of await readdir(folder)) {
    const path = join(folder, name);
    const found = await stat(path).catch(() => undefined);
    if (found !== undefined && Date.now() - found.mtimeMs > abandonedAfterMs) await rm(path, { force: true });
  }
}

/** A new folder is durable once the ones above it, from its parent up, know its name. */
async function makeFolder(folder: string): Promise<void> {
  const made = await mkdir(folder, { recursive: true });
  if (made === undefined) return;
  for (let current = folder; current !== dirname(made); current = dirname(current))
    await syncFolder(dirname(current));
}

async function syncFolder(folder: string): Promise<void> {
  let handle;
  try {
    handle = await open(folder, "r");
  } catch (error) {
    // Removed meanwhile because its last object was deleted: there is no name left to keep.
    if (isMissing(error)) return;
    throw error;
  }
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

function isMissing(error: unknown): boolean {
  return errorCode(error) === "ENOENT";
}

/** The path names no file: nothing is there, a folder is, or a file stands where a folder would be. */
function isAbsence(error: unknown): boolean {
  return ["ENOENT", "ENOTDIR", "EISDIR"].includes(errorCode(error) ?? "");
}
