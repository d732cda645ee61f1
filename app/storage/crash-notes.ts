import { mkdirSync, writeFileSync } from "node:fs";
import { readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { uuidv7 } from "uuidv7";
import * as z from "zod";
import { errorCode } from "./error-code.ts";
import type { ObjectStore } from "./object-store.ts";

/**
 * What is known of a crash. It lies in the store in clear, so it holds no error's message, which may tell what the run
 * works on: places in code only.
 */
const crashReport = z.object({
  /** `standstill`: the event loop was held for too long; `exception`: one that nobody caught. */
  reason: z.enum(["standstill", "exception"]),
  /** Epoch milliseconds. */
  at: z.number(),
  agent: z.string(),
  /** The class of the exception, or null. */
  error: z.string().nullable(),
  /** The code that was running, innermost first, as `function (file:line:column)`; empty if that could not be seen. */
  where: z.array(z.string()).readonly(),
});
export type CrashReport = Readonly<z.infer<typeof crashReport>>;

/** A crash of a run's host. */
export interface CrashNote {
  readonly runId: string;
  /** The run's last row of history at the crash. */
  readonly seq: number;
  /** `<run>/<uuid>-<seq>`: names sort by time within a run, and tell all that must be counted without being read. */
  readonly name: string;
}

/**
 * Which runs of a tenant brought their host down: `crashes/<tenant>/<run>/<uuid>-<seq>` in the store, which survives the
 * disk, and the same in the data folder, which is there when the store cannot be reached.
 */
export class CrashNotes {
  readonly #store: ObjectStore;
  readonly #prefix: string;
  readonly #folder: string;

  constructor(store: ObjectStore, dataFolder: string, tenantId: string) {
    this.#store = store;
    this.#prefix = `crashes/${tenantId}/`;
    this.#folder = join(dataFolder, tenantId, "crashes");
  }

  /** Writes the local note before it returns its promise. Rejects if the store does not take the other one. */
  async leave(run: { readonly id: string; readonly seq: number }, report: CrashReport): Promise<void> {
    const name = `${run.id}/${uuidv7()}-${run.seq}`;
    const body = JSON.stringify(report);
    const kept = this.#keep(run.id, name, body);
    await this.#store.put(`${this.#prefix}${name}`, body);
    if (kept !== null) throw kept;
  }

  /** All notes of the tenant, those of one run together, the earliest first. Throws StoreUnavailableError. */
  async list(): Promise<readonly CrashNote[]> {
    const stored = (await this.#store.list(this.#prefix)).map((key) => key.slice(this.#prefix.length));
    const names = new Set([...stored, ...(await this.#localNames())]);
    return [...names].toSorted().flatMap((name) => parse(name) ?? []);
  }

  /** Undefined if nobody has it any more, or not as we write it. */
  async read({ name }: CrashNote): Promise<CrashReport | undefined> {
    const local = await readFile(join(this.#folder, name), "utf8").catch(() => null);
    const stored = local === null ? await this.#store.get(`${this.#prefix}${name}`) : undefined;
    try {
      return crashReport.parse(JSON.parse(local ?? new TextDecoder().decode(stored?.body)));
    } catch {
      return undefined;
    }
  }

  /** Throws StoreUnavailableError. */
  async remove(notes: readonly CrashNote[]): Promise<void> {
    for (const { name } of notes) {
      await this.#store.delete(`${this.#prefix}${name}`);
      await rm(join(this.#folder, name), { force: true });
    }
  }

  #keep(runId: string, name: string, body: string): Error | null {
    try {
      mkdirSync(join(this.#folder, runId), { recursive: true });
      writeFileSync(join(this.#folder, name), body);
      return null;
    } catch (error) {
      return error as Error;
    }
  }

  async #localNames(): Promise<readonly string[]> {
    try {
      const entries = await readdir(this.#folder, { recursive: true });
      return entries.map((entry) => entry.replaceAll("\\", "/"));
    } catch (error) {
      if (errorCode(error) === "ENOENT") return [];
      throw error;
    }
  }
}

function parse(name: string): CrashNote | undefined {
  const [, runId, seq] = /^([^/]+)\/[0-9a-f-]{36}-(\d{1,9})$/.exec(name) ?? [];
  return runId === undefined ? undefined : { runId, seq: Number(seq), name };
}
