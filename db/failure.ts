import { DatabaseFullError, DatabaseIoError } from "./errors.ts";
import { isIoError, sqliteCode } from "./raw-connection.ts";

/** What a caller is told for an error of SQLite: a class of its own where the disk is at fault, else the error itself. */
export function databaseFailure(path: string, error: unknown): Error {
  const code = sqliteCode(error);
  if (code === "SQLITE_FULL") return new DatabaseFullError(path, { cause: error });
  if (code !== undefined && isIoError(error)) return new DatabaseIoError(path, code, { cause: error });
  return error instanceof Error
    ? error
    : new Error(`Not an error was thrown: ${String(error)}`, { cause: error });
}
