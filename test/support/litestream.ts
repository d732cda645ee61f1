import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import Database from "libsql";
import { locateLitestream } from "../../app/storage/litestream-binary.ts";
import type { Logger } from "../../app/storage/litestream-log.ts";
import { locateLitestreamSocket, removeSocketFolder } from "../../app/storage/litestream-socket.ts";
import { superviseLitestream, type Litestream } from "../../app/storage/litestream.ts";

const projectRoot = join(import.meta.dirname, "../..");

export const litestreamConfig = join(projectRoot, "litestream.yml");

/** The real Litestream. Where there is none, starting it says so, and names `npm run setup`. */
export function litestreamBinary(): string {
  return locateLitestream(process.env["HOLDFAST_LITESTREAM"], projectRoot);
}

export interface LoggedLine {
  readonly level: "info" | "warn" | "error";
  readonly fields: object;
  readonly message: string;
}

export function collectLog(): Logger & { readonly lines: readonly LoggedLine[] } {
  const lines: LoggedLine[] = [];
  const at = (level: LoggedLine["level"]) => (fields: object, message: string) => {
    lines.push({ level, fields, message });
  };
  return { lines, info: at("info"), warn: at("warn"), error: at("error") };
}

/** A folder with a data folder and a replica in it, and the Litestreams that were started there. */
export class LitestreamWorkspace {
  readonly folder: string;
  readonly dataFolder: string;
  readonly log = collectLog();
  readonly #litestreams: Litestream[] = [];

  private constructor(folder: string) {
    this.folder = folder;
    this.dataFolder = join(folder, "data");
  }

  static async open(): Promise<LitestreamWorkspace> {
    return new LitestreamWorkspace(await mkdtemp(join(tmpdir(), "holdfast-litestream-")));
  }

  replicaUrl(name: string): string {
    return `file://${join(this.folder, "store", name)}`;
  }

  path(name: string): string {
    return join(this.folder, name);
  }

  async supervise(
    environment: Readonly<Record<string, string | undefined>> = process.env,
  ): Promise<Litestream> {
    const litestream = await superviseLitestream({
      binary: litestreamBinary(),
      configPath: litestreamConfig,
      dataFolder: this.dataFolder,
      environment,
      log: this.log,
    });
    this.#litestreams.push(litestream);
    return litestream;
  }

  async close(): Promise<void> {
    for (const litestream of this.#litestreams) await litestream.stop();
    await removeSocketFolder(locateLitestreamSocket(this.dataFolder));
    // A host that was parking a tenant may still be writing down how it left the file.
    await rm(this.folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 50 });
  }
}

/** A file with a table `notes(id, text)`, opened as the worker opens its own: only Litestream checkpoints. */
export function openNotes(path: string): Database.Database {
  const database = new Database(path);
  database.pragma("journal_mode = WAL");
  database.pragma("wal_autocheckpoint = 0");
  database.pragma("busy_timeout = 5000");
  database.exec("CREATE TABLE IF NOT EXISTS notes (id INTEGER PRIMARY KEY, text TEXT NOT NULL)");
  return database;
}

export function writeNote(database: Database.Database, text: string): void {
  database.prepare("INSERT INTO notes (text) VALUES (?)").run(text);
}

export function readNotes(database: Database.Database): readonly unknown[] {
  return database.prepare("SELECT id, text FROM notes ORDER BY id").all();
}

/** Whether the process is there and not just a zombie. */
export async function isRunning(pid: number): Promise<boolean> {
  const status = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => "");
  return status !== "" && !/\) [ZX]/.test(status);
}

/** Waits for what another process is to bring about. */
export async function until(
  what: string,
  holds: () => boolean | Promise<boolean>,
  withinMs = 20_000,
): Promise<void> {
  const deadline = performance.now() + withinMs;
  while (!(await holds())) {
    if (performance.now() > deadline)
      throw new Error(`This did not come true within ${withinMs} ms: ${what}`);
    await sleep(20);
  }
}
