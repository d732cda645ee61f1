import { RefusedStatementError, TransactionClosedError } from "./errors.ts";
import type { SqlValue } from "./parameters.ts";
import type { Cell, Executed, RawConnection } from "./raw-connection.ts";

/** Rows are plain objects by column name; integers are numbers (a `RangeError` beyond 2^53), blobs `Uint8Array`. */
export interface Statements {
  /** `changes` is the number of rows changed, 0 for a statement with RETURNING. */
  run(sql: string, parameters?: readonly SqlValue[]): { readonly changes: number };
  /** The first row. All are read, so say LIMIT 1 where there can be many. */
  // oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- SQL says what a row is, so only the caller can.
  get<Row = Record<string, unknown>>(sql: string, parameters?: readonly SqlValue[]): Row | undefined;
  all<Row = Record<string, unknown>>(sql: string, parameters?: readonly SqlValue[]): Row[];
}

/** One turn on the connection: what may run in it, and whether it may have changed the file. Unusable once it has ended. */
export class Scope implements Statements {
  readonly #raw: RawConnection;
  readonly #path: string;
  readonly #mode: "read" | "write";
  #changedOther = false;
  #wroteRows = false;
  #changedRows = false;
  #open = true;

  constructor(raw: RawConnection, path: string, mode: "read" | "write") {
    this.#raw = raw;
    this.#path = path;
    this.#mode = mode;
  }

  end(): void {
    this.#open = false;
  }

  execute(sql: string, parameters: readonly unknown[]): Executed {
    if (!this.#open) throw new TransactionClosedError(this.#path);
    const kind = this.#raw.kind(sql);
    if (kind.is === "refused") throw new RefusedStatementError(sql, kind.why);
    if (kind.is !== "read" && this.#mode === "read") {
      throw new RefusedStatementError(sql, "it is not provably a read; use write()");
    }
    if (kind.is === "other") return this.#changing(() => this.#raw.execute(sql, parameters));
    const executed = this.#raw.execute(sql, parameters);
    if (kind.is === "change") {
      this.#wroteRows = true;
      // Most often the statement itself tells, and nobody needs to be asked.
      if (executed.changes > 0) this.#changedRows = true;
    }
    return executed;
  }

  /** Runs statements without parameters that nobody looked at. */
  script(sql: string): void {
    if (!this.#open) throw new TransactionClosedError(this.#path);
    if (this.#mode === "read") throw new RefusedStatementError(sql, "scripts are not provably reads");
    this.#changing(() => {
      this.#raw.exec(sql);
    });
    if (!this.#raw.inTransaction) throw new RefusedStatementError(sql, "it ended the transaction it ran in");
  }

  /** Asked once, before the commit: false only if provably nothing changed. */
  mayHaveChanged(): boolean {
    return this.#changedRows || this.#changedOther || (this.#wroteRows && this.#raw.changedRows());
  }

  run(sql: string, parameters: readonly SqlValue[] = []): { readonly changes: number } {
    return { changes: this.execute(sql, parameters).changes };
  }

  // oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- As in the interface.
  get<Row = Record<string, unknown>>(sql: string, parameters: readonly SqlValue[] = []): Row | undefined {
    return this.all<Row>(sql, parameters)[0];
  }

  all<Row = Record<string, unknown>>(sql: string, parameters: readonly SqlValue[] = []): Row[] {
    const { columns, rows } = this.execute(sql, parameters);
    return rows.map((cells) => rowObject(columns, cells) as Row);
  }

  #changing<T>(change: () => T): T {
    this.#changedOther = true;
    try {
      return change();
    } finally {
      this.#raw.forgetStatements();
    }
  }
}

function rowObject(columns: readonly string[], cells: readonly Cell[]): Record<string, unknown> {
  const row: Record<string, unknown> = {};
  for (const [i, column] of columns.entries()) {
    row[column] = cells[i];
  }
  return row;
}
