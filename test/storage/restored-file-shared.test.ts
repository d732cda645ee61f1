import { execFileSync } from "node:child_process";
import { mkdtemp, rename, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { connect } from "../../db/connect.ts";
import { checkFile } from "../../app/storage/check-file.ts";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "holdfast-shared-"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

test.each([
  ["on the event loop", 1_000],
  ["in a thread", 2_000_000],
])(
  "another process sees what is written to a file that was checked %s and renamed",
  async (_where, sizeBytes) => {
    const scratch = join(folder, "restoring.db");
    const path = join(folder, "tenant.db");
    const made = connect(scratch);
    await made.write((on) => on.run("CREATE TABLE t (a)"));
    await made.close();
    await checkFile(scratch, sizeBytes, "node");
    await rename(scratch, path);

    const connection = connect(path);
    for (let row = 1; row <= 3; row += 1) {
      await connection.write((on) => on.run("INSERT INTO t VALUES (?)", [row]));
      expect(countElsewhere(path)).toBe(row);
    }
    await connection.close();
  },
);

/** By another process with a SQLite of its own, as Litestream is one. */
function countElsewhere(path: string): number {
  const script = `
    const { DatabaseSync } = require("node:sqlite");
    const database = new DatabaseSync(process.argv[1], { readOnly: true });
    console.log(database.prepare("SELECT count(*) AS n FROM t").get().n);
  `;
  return Number(execFileSync(process.execPath, ["-e", script, path], { encoding: "utf8" }));
}
