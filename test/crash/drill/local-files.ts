import { existsSync } from "node:fs";
import { copyFile, mkdir, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import Database from "libsql";

/** What a tenant's file held on the disk of a worker that is dead. */
export interface LocalFile {
  /** Each row of history as text. */
  readonly rows: ReadonlySet<string>;
  /** Ids of runs that only the worker can bring on: unfinished, and not waiting for a signal that nobody has sent. */
  readonly due: ReadonlySet<string>;
}

/** Reads copies of the tenants' newest files, so that nothing of ours ever touches the originals. */
export async function readLocalFiles(
  dataFolder: string,
  scratch: string,
): Promise<ReadonlyMap<string, LocalFile>> {
  const files = new Map<string, LocalFile>();
  const entries = await readdir(dataFolder, { withFileTypes: true }).catch(() => []);
  for (const { name: tenant } of entries.filter((entry) => entry.isDirectory())) {
    const file = await newestFile(join(dataFolder, tenant));
    if (file === undefined) continue;
    await mkdir(scratch, { recursive: true });
    const copy = join(scratch, "tenant.db");
    for (const part of ["", "-wal"])
      if (existsSync(`${file}${part}`)) await copyFile(`${file}${part}`, `${copy}${part}`);
    files.set(tenant, readFile(copy));
    await rm(scratch, { recursive: true });
  }
  return files;
}

/** How many rows `before` holds that `after` does not: what was committed on the spot and is in no replica. */
export function countMissing(
  before: ReadonlyMap<string, LocalFile>,
  after: ReadonlyMap<string, LocalFile>,
): number {
  const missing = [...before].map(([tenant, { rows }]) => {
    const kept = after.get(tenant)?.rows;
    return [...rows].filter((row) => kept?.has(row) !== true).length;
  });
  return missing.reduce((sum, count) => sum + count, 0);
}

async function newestFile(folder: string): Promise<string | undefined> {
  const epochs = (await readdir(folder)).flatMap((name) =>
    /^e\d+$/.test(name) ? [Number(name.slice(1))] : [],
  );
  return epochs
    .toSorted((a, b) => b - a)
    .map((epoch) => join(folder, `e${epoch}`, "tenant.db"))
    .find((file) => existsSync(file));
}

function readFile(path: string): LocalFile {
  const database = new Database(path);
  try {
    const tables = database
      .prepare("SELECT COUNT(*) AS count FROM sqlite_master WHERE name = 'signals'")
      .get();
    if ((tables as { count: number }).count === 0) return { rows: new Set(), due: new Set() };
    const rows = database
      .prepare(
        "SELECT run_id || ' ' || seq || ' ' || kind || ' ' || name || ' ' || attempt || ' ' || at AS row FROM history",
      )
      .all() as { row: string }[];
    const due = database
      .prepare(
        `SELECT id FROM runs WHERE status IN ('queued', 'running', 'sleeping') OR (status = 'waiting' AND EXISTS
         (SELECT 1 FROM signals WHERE signals.run_id = runs.id AND taken_by_seq IS NULL))`,
      )
      .all() as { id: string }[];
    return { rows: new Set(rows.map(({ row }) => row)), due: new Set(due.map(({ id }) => id)) };
  } finally {
    database.close();
  }
}
