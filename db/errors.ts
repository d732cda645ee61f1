/** Base of the errors by which a tenant's database refuses or fails; `code` is stable. */
export abstract class DatabaseError extends Error {
  abstract readonly code: string;
  override get name(): string {
    return this.constructor.name;
  }
}

/** Another process held the file's lock for longer than the connection may wait. Nothing was written. */
export class DatabaseBusyError extends DatabaseError {
  readonly code = "database_busy";
  constructor(path: string, what: string, waitedMs: number, options?: ErrorOptions) {
    super(
      `Another process kept ${path} locked while ${what}, for ${String(waitedMs)} ms. Nothing was written; try again.`,
      options,
    );
  }
}

/** The disk has no room for the write. It was rolled back; writes go on once there is room again. */
export class DatabaseFullError extends DatabaseError {
  readonly code = "SQLITE_FULL";
  constructor(path: string, options?: ErrorOptions) {
    super(`No room left to write ${path}. The write was rolled back; make room on its disk.`, options);
  }
}

/** The operating system failed to read or write the file. `extendedCode` is SQLite's, such as SQLITE_IOERR_FSYNC. */
export class DatabaseIoError extends DatabaseError {
  readonly code = "SQLITE_IOERR";
  readonly extendedCode: string;
  constructor(path: string, extendedCode: string, options?: ErrorOptions) {
    super(
      `The operating system failed on ${path} (${extendedCode}). What was being written was not acknowledged; look at its disk.`,
      options,
    );
    this.extendedCode = extendedCode;
  }
}

/** The connection was closed, or is being closed. */
export class ConnectionClosedError extends DatabaseError {
  readonly code = "connection_closed";
  constructor(path: string) {
    super(`The connection to ${path} is closed.`);
  }
}

/** More operations wait for the connection than it may hold. */
export class QueueFullError extends DatabaseError {
  readonly code = "queue_full";
  constructor(path: string, limit: number) {
    super(`${String(limit)} operations already wait for ${path}. Try again when some have ended.`);
  }
}

/** The connection was used inside its own transaction, which would wait for itself for ever. */
export class NestedTransactionError extends DatabaseError {
  readonly code = "nested_transaction";
  constructor(path: string) {
    super(
      `The connection to ${path} was used inside one of its own transactions. Use the transaction's handle ("tx") there.`,
    );
  }
}

/** A transaction's callback took too long, so it was rolled back: it kept everyone else waiting. */
export class TransactionTimeoutError extends DatabaseError {
  readonly code = "transaction_timeout";
  constructor(path: string, limitMs: number) {
    super(
      `A transaction on ${path} was still open after ${String(limitMs)} ms and was rolled back. Do the slow work before it.`,
    );
  }
}

/** A handle was used after its transaction, or its turn, had ended. */
export class TransactionClosedError extends DatabaseError {
  readonly code = "transaction_closed";
  constructor(path: string) {
    super(`The transaction on ${path} has ended: its handle can no longer be used.`);
  }
}

/** A statement that this connection does not run, whatever it would do. */
export class RefusedStatementError extends DatabaseError {
  readonly code = "refused_statement";
  constructor(sql: string, why: string) {
    super(`Refused to run ${JSON.stringify(sql.slice(0, 200))}: ${why}.`);
  }
}

/** A parameter that SQLite cannot hold, or a wrong number of them. */
export class ParameterError extends DatabaseError {
  readonly code: string = "bad_parameter";
}

/** The text of a parameter has a NUL. Unlike what else makes a parameter bad it comes from input, not from code. */
export class NulTextError extends ParameterError {
  override readonly code = "nul_text";
}

/** A pragma did not take: the connection must not be used. */
export class PragmaError extends DatabaseError {
  readonly code = "wrong_pragma";
  constructor(path: string, pragma: string, values: { readonly wanted: unknown; readonly found: unknown }) {
    super(
      `PRAGMA ${pragma} of ${path} is ${String(values.found)} and must be ${String(values.wanted)}. The file was left as it was.`,
    );
  }
}

/** The file has migrations that this code does not know: it was written by a newer version. */
export class SchemaTooNewError extends DatabaseError {
  readonly code = "schema_too_new";
  constructor(path: string, versions: { readonly file: number; readonly code: number }) {
    super(
      `${path} has ${String(versions.file)} migrations, of which this code does not know all (it has ${String(versions.code)}). Run the version that wrote it, or a newer one.`,
    );
  }
}
