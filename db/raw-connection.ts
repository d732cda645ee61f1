import Database from "libsql";
import { PragmaError } from "./errors.ts";
import { bindParameters, countPlaceholders } from "./parameters.ts";
import { statementKind } from "./statement-kind.ts";
import type { StatementKind } from "./statement-kind.ts";

/** A value of a row. */
export type Cell = null | string | number | Uint8Array;

/** What a statement did. `columns` is empty for one that returns no rows; `changes` counts rows for such a one only. */
export interface Executed {
  readonly columns: readonly string[];
  /** Declared types of the columns, "" where there is none. */
  readonly columnTypes: readonly string[];
  readonly rows: readonly (readonly Cell[])[];
  readonly changes: number;
  readonly lastInsertRowid: bigint | undefined;
}

interface KeptStatement {
  readonly kind: StatementKind;
  readonly native: Database.Statement;
  readonly placeholders: number;
  readonly returnsRows: boolean;
  readonly columns: readonly string[];
  readonly columnTypes: readonly string[];
}

/** Set and read back on every new handle, since SQLite keeps none of them but the first in the file. */
const pragmas = [
  { name: "journal_mode", wanted: "wal" },
  { name: "synchronous", wanted: 1 },
  // A commit that races a checkpoint can vanish in this SQLite (3.45.1), so it never checkpoints by itself.
  { name: "wal_autocheckpoint", wanted: 0 },
  { name: "foreign_keys", wanted: 1 },
  // SQLite would wait by blocking the event loop, so it does not wait at all; `FileConnection` does.
  { name: "busy_timeout", wanted: 0 },
] as const;

/**
 * One handle of the native package, with its pragmas set and asserted and its statements prepared once and kept.
 *
 * Two ways of the native package are avoided here. A prepared statement that met SQLITE_BUSY stays "in progress", so that
 * no later commit succeeds: it is kept as the handle's `fault`, and such a handle must be closed. And `get()` on a statement that `all()`
 * ran before ignores its new parameters and returns the old row, so only `all()` and `run()` are ever used.
 */
export class RawConnection {
  readonly #path: string;
  readonly #database: Database.Database;
  readonly #limit: number;
  /** Least recently used first. */
  readonly #kept = new Map<string, KeptStatement>();
  #countedChanges = 0;
  #fault: Error | undefined;
  #open = true;

  /** Opens the file, creating it if it is missing. `keptStatements` bounds how many prepared statements are kept. */
  constructor(path: string, keptStatements: number) {
    this.#path = path;
    this.#limit = keptStatements;
    this.#database = new Database(path);
    try {
      this.#setPragmas();
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** The error after which this handle must not be used any more; undefined while all is well. */
  get fault(): Error | undefined {
    return this.#fault;
  }

  get inTransaction(): boolean {
    // Reading it from a closed handle would end the process.
    return this.#open && this.#database.inTransaction;
  }

  /** Takes the write lock, or throws SQLITE_BUSY at once and is as good as before: `exec` leaves no statement in progress. */
  begin(): void {
    this.exec("BEGIN IMMEDIATE");
  }

  commit(): void {
    try {
      this.exec("COMMIT");
    } catch (error) {
      // With the lock held there is nothing to wait for: BUSY means that some statement is still in progress.
      this.#noteFault(error, isBusy);
      throw error;
    }
  }

  /** Leaves no transaction open; a handle that cannot be brought there gets a fault. */
  rollBack(): void {
    try {
      if (this.inTransaction) this.exec("ROLLBACK");
      this.changedRows();
    } catch (error) {
      this.#noteFault(error, () => true);
    }
  }

  /** Runs a script of any number of statements without parameters, whose rows are dropped. */
  exec(sql: string): void {
    this.#assertOpen();
    try {
      this.#database.exec(sql);
    } catch (error) {
      this.#noteFault(error, isIoError);
      throw error;
    }
  }

  kind(sql: string): StatementKind {
    return this.#kept.get(sql)?.kind ?? statementKind(sql, () => this.#prepared(sql).returnsRows);
  }

  execute(sql: string, parameters: readonly unknown[]): Executed {
    const statement = this.#prepared(sql);
    const bound = bindParameters(parameters, statement.placeholders);
    try {
      if (statement.returnsRows) return allRows(statement, bound);
      const executed = run(statement, bound);
      this.#countedChanges += executed.changes;
      return executed;
    } catch (error) {
      this.#noteFault(error, (failure) => isBusy(failure) || isIoError(failure));
      throw error;
    }
  }

  /** Whether more rows were changed than statements have told of since it was last asked: by triggers, say. */
  changedRows(): boolean {
    const total = Number(this.execute("SELECT total_changes()", []).rows[0]?.[0]);
    const changed = total !== this.#countedChanges;
    this.#countedChanges = total;
    return changed;
  }

  /** Throws a `PragmaError`, which is a fault, if a setting is not as it must be. */
  assertPragmas(): void {
    for (const { name, wanted } of pragmas) {
      const found = this.execute(`PRAGMA ${name}`, []).rows[0]?.[0];
      if (found === wanted) continue;
      this.#fault ??= new PragmaError(this.#path, name, { wanted, found });
      throw this.#fault;
    }
    this.forgetStatements();
  }

  /** Forgets what is kept, as it must be after a change of the schema: columns are read when a statement is prepared. */
  forgetStatements(): void {
    this.#kept.clear();
  }

  /**
   * Closes the handle; SQLite keeps the file open until the kept statements are collected. The last handle of all processes
   * that closes a file checkpoints it. That is safe here, unlike any other checkpoint of ours: SQLite holds the file
   * exclusively meanwhile, so no commit can race it, and it does not happen while Litestream has the file open.
   */
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#kept.clear();
    this.#database.close();
  }

  #setPragmas(): void {
    for (const { name, wanted } of pragmas) this.exec(`PRAGMA ${name} = ${String(wanted)}`);
    this.assertPragmas();
  }

  #prepared(sql: string): KeptStatement {
    this.#assertOpen();
    const kept = this.#kept.get(sql);
    if (kept !== undefined) {
      this.#kept.delete(sql);
      this.#kept.set(sql, kept);
      return kept;
    }
    const statement = this.#prepare(sql);
    this.#kept.set(sql, statement);
    if (this.#kept.size > this.#limit) {
      const [oldest] = this.#kept.keys();
      if (oldest !== undefined) this.#kept.delete(oldest);
    }
    return statement;
  }

  #prepare(sql: string): KeptStatement {
    const native = this.#database.prepare(sql);
    const returnsRows = native.reader;
    const described = returnsRows ? native.raw(true).safeIntegers(true).columns() : [];
    return {
      kind: statementKind(sql, () => returnsRows),
      native,
      placeholders: countPlaceholders(sql),
      returnsRows,
      columns: described.map((column) => column.name),
      columnTypes: described.map((column) => column.type ?? ""),
    };
  }

  #noteFault(error: unknown, isFault: (error: unknown) => boolean): void {
    if (error instanceof Error && isFault(error)) this.#fault ??= error;
  }

  #assertOpen(): void {
    if (!this.#open) throw new Error(`The handle of ${this.#path} was used after it was closed`);
  }
}

function allRows(statement: KeptStatement, bound: readonly unknown[]): Executed {
  const rows = statement.native.all(bound) as (Cell | bigint | ArrayBuffer)[][];
  for (const row of rows) {
    for (let i = 0; i < row.length; i += 1) {
      const cell = row[i];
      if (typeof cell === "bigint") row[i] = safeNumber(cell, statement.columns[i]);
      else if (cell instanceof ArrayBuffer) row[i] = new Uint8Array(cell);
    }
  }
  return {
    columns: statement.columns,
    columnTypes: statement.columnTypes,
    rows: rows as Cell[][],
    changes: 0,
    lastInsertRowid: undefined,
  };
}

function run(statement: KeptStatement, bound: readonly unknown[]): Executed {
  const { changes, lastInsertRowid } = statement.native.run(bound);
  return { columns: [], columnTypes: [], rows: [], changes, lastInsertRowid: BigInt(lastInsertRowid) };
}

function safeNumber(integer: bigint, column: string | undefined): number {
  const number = Number(integer);
  if (Number.isSafeInteger(number)) return number;
  throw new RangeError(
    `Column ${String(column)} holds ${String(integer)}, which a JavaScript number cannot hold exactly; select it as text`,
  );
}

/** Whether SQLite says that another connection has the lock; it has several extended codes for that. */
export function isBusy(error: unknown): boolean {
  return sqliteCode(error)?.startsWith("SQLITE_BUSY") ?? false;
}

export function isIoError(error: unknown): boolean {
  return sqliteCode(error)?.startsWith("SQLITE_IOERR") ?? false;
}

/** SQLite's extended result code by name, such as `SQLITE_CONSTRAINT_UNIQUE`. */
export function sqliteCode(error: unknown): string | undefined {
  return error instanceof Database.SqliteError ? error.code : undefined;
}
