import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";

import { z } from "zod";

/** What anyone with a SQLite tool can see in a tenant's file while the worker writes it. */
export interface RunInFile {
  /** Its children's among them. */
  readonly steps: number;
  /** Name of the newest step. */
  readonly lastStep: string;
  readonly status: string;
}

const found = z.object({ steps: z.number(), lastStep: z.string().nullable(), status: z.string().nullable() });

/** A look at a run from outside of the worker: it reads the file and makes no call that could wake anything. */
export class TenantFile {
  readonly #database: DatabaseSync;

  constructor(options: { readonly data: string; readonly tenant: string; readonly epoch: number }) {
    const file = join(options.data, options.tenant, `e${options.epoch}`, "tenant.db");
    // Read-only, so that it neither writes nor checkpoints what only the worker and Litestream may.
    this.#database = new DatabaseSync(file, { readOnly: true, timeout: 2_000 });
  }

  look(runId: string): RunInFile {
    const row = this.#database
      .prepare(
        `WITH steps AS (SELECT name, at FROM history WHERE kind = 'step.completed'
                        AND run_id IN (SELECT id FROM runs WHERE id = :run OR parent = :run))
         SELECT (SELECT count(*) FROM steps) AS steps,
                (SELECT name FROM steps ORDER BY at DESC LIMIT 1) AS lastStep,
                (SELECT status FROM runs WHERE id = :run) AS status`,
      )
      .get({ run: runId });
    const { steps, lastStep, status } = found.parse({ ...row });
    return { steps, lastStep: lastStep ?? "", status: status ?? "missing" };
  }

  close(): void {
    this.#database.close();
  }
}
