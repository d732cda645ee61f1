import type { ResultSet, Row, Value } from "@libsql/client";
import type { Cell, Executed } from "./raw-connection.ts";

/** A row as Drizzle and `@libsql/client` have it: its columns by name, enumerable, and by number, not enumerable. */
class ResultRow {
  [name: string]: unknown;
  readonly #cells: readonly unknown[];

  /** `names` are the columns to be had by name, each with its number. */
  constructor(names: ReadonlyMap<string, number>, cells: readonly unknown[]) {
    this.#cells = cells;
    for (const [name, i] of names) (this as Record<string, unknown>)[name] = cells[i];
  }

  get length(): number {
    return this.#cells.length;
  }

  /** Gives rows of `count` columns their numbers, once for all rows: a property for each cell would cost ten times as much. */
  static number(count: number): void {
    for (; ResultRow.#numbered < count; ResultRow.#numbered += 1) {
      const index = ResultRow.#numbered;
      Object.defineProperty(ResultRow.prototype, index, {
        get(this: ResultRow) {
          return this.#cells[index];
        },
      });
    }
  }

  static #numbered = 0;
}

export function toResultSet(executed: Executed): ResultSet {
  const { columns, columnTypes, changes, lastInsertRowid } = executed;
  ResultRow.number(columns.length);
  const names = columnNames(columns);
  const rows = executed.rows.map((cells) => new ResultRow(names, cells.map(toValue)) as unknown as Row);
  return {
    columns: [...columns],
    columnTypes: [...columnTypes],
    rows,
    rowsAffected: changes,
    lastInsertRowid,
    toJSON: () => ({
      columns,
      columnTypes,
      rows: executed.rows,
      rowsAffected: changes,
      lastInsertRowid: lastInsertRowid === undefined ? null : String(lastInsertRowid),
    }),
  };
}

/** The first of two columns with one name wins; "length" and numbers belong to the row itself. */
function columnNames(columns: readonly string[]): Map<string, number> {
  const names = new Map<string, number>();
  for (const [i, column] of columns.entries()) {
    if (!names.has(column) && !/^(?:\d+|length|__proto__)$/.test(column)) names.set(column, i);
  }
  return names;
}

/** The interface has blobs as `ArrayBuffer`s of their own. */
function toValue(cell: Cell): Value {
  return cell instanceof Uint8Array ? Uint8Array.from(cell).buffer : cell;
}
