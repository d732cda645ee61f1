import type { Client } from "@libsql/client";
import * as driver from "drizzle-orm/libsql/driver-core";
import type { LibSQLDatabase } from "drizzle-orm/libsql/driver-core";
import { FileConnection } from "./file-connection.ts";
import { LibsqlClient } from "./libsql-client.ts";
import * as schema from "./schema.ts";
import type { Statements } from "./scope.ts";

export type { SqlValue } from "./parameters.ts";
export type { Statements } from "./scope.ts";

/** Drizzle over the tenant's file, with every table of `db/schema.ts`. */
export type HoldfastDb = LibSQLDatabase<typeof schema>;
/** What the callback of `db.transaction` gets. */
export type HoldfastTransaction = Parameters<Parameters<HoldfastDb["transaction"]>[0]>[0];

/** The one connection of this process to a tenant's file. All its operations run one after the other, in call order. */
export interface Connection {
  readonly path: string;
  /**
   * Drizzle over this connection. Errors are `DrizzleQueryError`s whose `cause.code` is SQLite's, or one of `errors.ts`. A
   * transaction's callback keeps everyone else waiting, for `transactionTimeoutMs` at most (`TransactionTimeoutError`);
   * using `db`, `write` or `read` of the same connection inside it is refused (`NestedTransactionError`).
   */
  readonly db: HoldfastDb;
  /**
   * Commits that changed the file, in this connection's whole life; one that may have counts too. Taken after the last read,
   * it tells what that read may have seen.
   */
  readonly commits: number;
  /** How often the lock was found taken, in this connection's whole life. */
  readonly busyCount: number;
  /** How often the underlying handle had to be replaced. */
  readonly replacedCount: number;
  /**
   * Runs `work` in one transaction that takes the write lock first, and resolves once it is committed. `work` must be
   * synchronous; if it throws, everything is rolled back and its error passed on. It may run more than once (after a
   * rollback), so it must have no other effects. Rejects with `DatabaseBusyError` when the lock could not be had in
   * `busyTimeoutMs`, with `DatabaseFullError` or `DatabaseIoError` when the disk fails; the connection stays usable.
   */
  write<T>(work: (tx: Statements) => T): Promise<T>;
  /** Runs `work`, synchronous too, outside of any transaction. Statements that are not provably reads are refused. */
  read<T>(work: (tx: Statements) => T): Promise<T>;
  /** Resolves when everything queued before it has run. */
  idle(): Promise<void>;
  /** Waits for what is queued, then closes the file. Later calls, and uses of `db`, reject with `ConnectionClosedError`. */
  close(): Promise<void>;
}

export interface ConnectOptions {
  /** For how long a lock held by another process is waited out; 10 s by default. */
  readonly busyTimeoutMs?: number;
  /** For how long a transaction's callback may run; 5 s by default. */
  readonly transactionTimeoutMs?: number;
  /** How many operations may wait before more are refused (`QueueFullError`); 10,000 by default. */
  readonly queueLimit?: number;
  /** How many prepared statements are kept; 200 by default. */
  readonly keptStatements?: number;
  /** Called with `commits` right after each commit that counts, before the write resolves. It must not throw. */
  readonly onCommit?: (commits: number) => void;
}

/**
 * The connection to the file at `path`. It is opened, and created if it is missing, by the first operation, which also
 * reports if that fails. There must be no second connection to the same file in any process of ours: this SQLite must never
 * have two writers (see `raw-connection.ts`).
 */
export function connect(path: string, options: ConnectOptions = {}): Connection {
  const file = new FileConnection(path, {
    busyTimeoutMs: options.busyTimeoutMs ?? 10_000,
    transactionTimeoutMs: options.transactionTimeoutMs ?? 5_000,
    queueLimit: options.queueLimit ?? 10_000,
    keptStatements: options.keptStatements ?? 200,
    onCommit: options.onCommit ?? (() => undefined),
  });
  const db = drizzleOver(file);
  return {
    path,
    db,
    get commits() {
      return file.commits;
    },
    get busyCount() {
      return file.busyCount;
    },
    get replacedCount() {
      return file.replacedCount;
    },
    write: (work) => file.write(work),
    read: (work) => file.read(work),
    idle: () => file.idle(),
    close: () => file.close(),
  };
}

/** Drizzle's own `drizzle()` would load `@libsql/client`; the constructor behind it is exported, but not declared. */
const { construct } = driver as unknown as {
  construct: (client: Client, config: { schema: typeof schema }) => HoldfastDb;
};

function drizzleOver(file: FileConnection): HoldfastDb {
  const db = construct(new LibsqlClient(file), { schema });
  const transaction = db.transaction.bind(db);
  db.transaction = (callback, config) => file.transaction(() => transaction(callback, config));
  return db;
}
