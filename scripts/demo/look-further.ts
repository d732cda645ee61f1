import { readdir } from "node:fs/promises";
import { join, relative } from "node:path";

import { projectFolder } from "../dev/project-folder.ts";
import { pageLink, shellQuoted, type WayIn } from "../dev/way-in.ts";
import type { DemoFolder } from "./demo-folder.ts";

/** What a person can do with what the demo left: open the page, ask with curl, open the file with SQLite, clean up. */
export async function lookFurther(options: {
  readonly folder: DemoFolder;
  readonly digestFile: string;
  readonly runId: string;
  /** Where the worker will be when it is started as told. */
  readonly wayIn: WayIn;
}): Promise<string> {
  const { folder, digestFile, runId, wayIn } = options;
  const file = await tenantFile(folder.data);
  const authorization = shellQuoted(`authorization: Bearer ${wayIn.token}`);
  const sql =
    "SELECT seq, kind, name, datetime(at / 1000, 'unixepoch') AS at FROM history ORDER BY at, run_id, seq LIMIT 20";
  const removeFolder = `rm -r ${shellQuoted(relative(projectFolder, folder.path))}`;
  return [
    `The whole digest   ${digestFile}`,
    ...(file === undefined
      ? []
      : [`The tenant's file  sqlite3 -readonly -header ${shellQuoted(file)} "${sql}"`]),
    `Serve it again     HOLDFAST_STORE=${shellQuoted(folder.store)} HOLDFAST_DATA=${shellQuoted(folder.data)} PORT=${new URL(wayIn.url).port} npm run dev`,
    `  then the page    ${pageLink(wayIn)}`,
    `  the history      curl -sS -H ${authorization} ${shellQuoted(`${wayIn.url}/v1/runs/${runId}/history`)}`,
    `Remove it          ${[...removeFromS3(folder), removeFolder].join(" && ")}`,
  ].join("\n");
}

function removeFromS3({ store, storeName }: DemoFolder): readonly string[] {
  if (!store.startsWith("s3:")) return [];
  const endpoint = new URLSearchParams(store.split("?")[1]).get("endpoint");
  const at = endpoint === null ? "" : ` --endpoint-url ${shellQuoted(endpoint)}`;
  return [`aws s3 rm --recursive${at} ${shellQuoted(storeName)}`];
}

/** The file that the last epoch left. Values in it are sealed with the master key; names, kinds and times are clear. */
async function tenantFile(data: string): Promise<string | undefined> {
  const entries = await readdir(data, { recursive: true, withFileTypes: true }).catch(() => []);
  return entries
    .filter((entry) => entry.isFile() && entry.name.endsWith(".db") && entry.name !== "lock.db")
    .map((entry) => join(entry.parentPath, entry.name))
    .toSorted((one, other) => one.localeCompare(other, "en", { numeric: true }))
    .at(-1);
}
