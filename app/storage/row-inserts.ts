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
      const some = length === rows.length ? rows : rows.slice(sent, sent + length);
      on.run(statement(table, some), some.flatMap(valuesOf));
    }
  }
}

/** By table and number of rows. */
const statements = new Map<string, string>();

function statement(table: Table, rows: readonly object[]): string {
  const key = `${table} ${rows.length}`;
  const known = statements.get(key);
  if (known !== undefined) return known;
  const columns = Object.keys(rows[0] ?? {});
  const row = `(${columns.map(() => "?").join(", ")})`;
  const sql = `INSERT INTO ${table} (${columns.join(", ")}) VALUES ${rows.map(() => row).join(", ")}`;
  statements.set(key, sql);
  return sql;
}

function valuesOf(row: object): SqlValue[] {
  return Object.values(row) as SqlValue[];
}
