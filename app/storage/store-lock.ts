import { statSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { dirname } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import Database from "libsql";
import { errorCode } from "./error-code.ts";
import { StoreUnavailableError } from "./object-store.ts";

/**
 * One holder at a time among all processes of this machine. The lock is an exclusive SQLite transaction, that is, a lock of
 * the kernel: it ends with its holder, however that dies. Nothing may open the lock file by `fs`: closing it would drop the
 * lock of the whole process.
 */
export class StoreLock {
  readonly #path: string;
  readonly #waitMs: number;
  #opened: { readonly database: Database.Database; readonly inode: number } | undefined;
  #last: Promise<unknown> = Promise.resolve();

  constructor(path: string, waitMs: number) {
    this.#path = path;
    this.#waitMs = waitMs;
  }

  /** Runs `work` under the lock. Throws StoreUnavailableError if the lock cannot be had within the wait. */
  hold<T>(work: () => Promise<T>): Promise<T> {
    const deadline = performance.now() + this.#waitMs;
    const result = this.#last.then(() => this.#run(work, deadline));
    this.#last = result.catch(() => undefined);
    return result;
  }

  async #run<T>(work: () => Promise<T>, deadline: number): Promise<T> {
    const database = await this.#acquire(deadline);
    try {
      return await work();
    } finally {
      // Nothing was written, so this only lets the lock go.
      database.exec("COMMIT");
    }
  }

  async #acquire(deadline: number): Promise<Database.Database> {
    for (let attempt = 0; ; attempt++) {
      try {
        const database = await this.#open();
        database.exec("BEGIN EXCLUSIVE");
        return database;
      } catch (error) {
        if (errorCode(error) !== "SQLITE_BUSY") {
          this.#close();
          throw new StoreUnavailableError(`The store's lock ${this.#path} cannot be used: ${text(error)}.`, {
            cause: error,
          });
        }
        if (performance.now() >= deadline)
          throw new StoreUnavailableError(
            `The store's lock ${this.#path} was held by others for ${this.#waitMs} ms.`,
            { cause: error },
          );
      }
      // SQLite's own waiting would block the event loop. Unequal waits keep two processes from meeting again and again.
      await sleep(Math.random() * Math.min(2 ** attempt, 20));
    }
  }

  async #open(): Promise<Database.Database> {
    // A store folder that was removed and made again has another lock file, and the old one excludes nobody.
    if (this.#opened !== undefined && inodeOf(this.#path) === this.#opened.inode)
      return this.#opened.database;
    this.#close();
    await mkdir(dirname(this.#path), { recursive: true });
    const database = new Database(this.#path, { timeout: 0 });
    this.#opened = { database, inode: inodeOf(this.#path) };
    return database;
  }

  #close(): void {
    this.#opened?.database.close();
    this.#opened = undefined;
  }
}

/** Looks without opening; 0 if there is no such file. */
function inodeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.ino ?? 0;
}

function text(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
