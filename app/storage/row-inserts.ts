import type { SqlValue, Statements } from "../../db/connect.ts";

const allTables = ["runs", "history", "signals"] as const;
type Table = (typeof allTables)[number];

/** Rows a statement takes: each length is a statement that the connection keeps prepared, so there are few. */
const lengths = [16, 4, 1] as const;

/**
 * Rows of one flush that are still to be inserted, table by table. Many rows go out by one statement, since crossing into
 * SQLite and back costs about as much as inserting a row.
 */
export class RowInserts {
  readonly #rows: Record<Table, object[]> = { runs: [], history: [], signals: [] };

  /** All rows of a table must have their columns in the same order. */
  add(table: Table, row: object): void {
    this.#rows[table].push(row);
  }

  /** Inserts what was added to these tables since the last call, in the order of the calls within a table. */
  send(on: Statements, tables: readonly Table[] = allTables): void {
    for (const table of tables) {
      const rows = this.#rows[table];
      if (rows.length === 0) continue;
      this.#rows[table] = [];
      insertAll(on, table, rows);
    }
  }
}

function insertAll(on: Statements, table: Table, rows: readonly object[]): void {
  let sent = 0;
  for (const length of lengths) {
    for (; rows.length - sent >= length; sent += length) {
      const values: SqlValue[] = [];
      for (let i = sent; i < sent + length; i += 1)
        values.push(...(Object.values(rows[i] ?? {}) as SqlValue[]));
      on.run(statement(table, length, rows[sent] ?? {}), values);
    }
  }
}

/** By table and number of rows. */
const statements: Record<Table, Map<number, string>> = {
  runs: new Map(),
  history: new Map(),
  signals: new Map(),
};

function statement(table: Table, length: number, row: object): string {
  const known = statements[table].get(length);
  if (known !== undefined) return known;
  const columns = Object.keys(row);
  const places = `(${columns.map(() => "?").join(", ")})`;
  const sql = `INSERT INTO ${table} (${columns.join(", ")}) VALUES ${Array(length).fill(places).join(", ")}`;
  statements[table].set(length, sql);
  return sql;
}
