/**
 * What a statement may do. `read`: provably nothing. `change`: what it changed shows in SQLite's count of changed rows.
 * `savepoint`: nothing by itself. `other`: anything, such as a change of the schema. `refused`: it would end or undermine
 * the transaction that it runs in, and `why` says how.
 */
export type StatementKind =
  | { readonly is: "read" | "change" | "savepoint" | "other" }
  | { readonly is: "refused"; readonly why: string };

const leadingBlanks = /^(?:\s|;|--[^\n]*(?:\n|$)|\/\*[^]*?\*\/)*/;
const firstWord = /^[a-z]+/i;
const ownPragmas =
  /^PRAGMA\s+(?:\w+\s*\.\s*)?["'`[]?(?:journal_mode|synchronous|wal_autocheckpoint|wal_checkpoint|foreign_keys|busy_timeout|locking_mode|writable_schema|journal_size_limit)\b/i;

/**
 * When unsure, a statement is no read. `returnsRows` is SQLite's own word on whether it has columns; it is not asked about a
 * pragma, some of which take effect when they are merely prepared.
 */
export function statementKind(sql: string, returnsRows: () => boolean): StatementKind {
  const statement = sql.replace(leadingBlanks, "");
  switch (firstWord.exec(statement)?.[0].toUpperCase()) {
    case "SELECT":
    case "VALUES":
    case "EXPLAIN":
      return { is: returnsRows() ? "read" : "other" };
    case "WITH":
      // A WITH before INSERT, UPDATE or DELETE has columns only if it has RETURNING.
      return { is: !/\breturning\b/i.test(statement) && returnsRows() ? "read" : "change" };
    case "INSERT":
    case "UPDATE":
    case "DELETE":
    case "REPLACE":
      return { is: "change" };
    case "SAVEPOINT":
    case "RELEASE":
      return { is: "savepoint" };
    case "ROLLBACK":
      return /^ROLLBACK\s+(?:TRANSACTION\s+)?TO\b/i.test(statement)
        ? { is: "savepoint" }
        : transactionControl;
    case "BEGIN":
    case "COMMIT":
    case "END":
      return transactionControl;
    case "PRAGMA":
      return ownPragmas.test(statement) ? connectionPragma : { is: "other" };
    case undefined:
      return { is: "refused", why: "it is empty" };
    default:
      return { is: "other" };
  }
}

const transactionControl: StatementKind = {
  is: "refused",
  why: "transactions are begun and ended by the connection; use write() or transaction()",
};

const connectionPragma: StatementKind = {
  is: "refused",
  why: "replication rests on this setting, which belongs to the connection",
};
