import type { Client, InArgs, InStatement, Replicated, ResultSet, Transaction } from "@libsql/client";
import { ParameterError } from "./errors.ts";
import type { FileConnection } from "./file-connection.ts";
import type { HeldTransaction } from "./held-transaction.ts";
import type { RawConnection } from "./raw-connection.ts";
import { toResultSet } from "./result-set.ts";

type BatchStatement = InStatement | [sql: string, args?: InArgs | undefined];

interface Statement {
  readonly sql: string;
  readonly args: readonly unknown[];
}

/**
 * `@libsql/client`'s interface, which Drizzle speaks, over the tenant's one connection. Unlike the original it has no pool,
 * keeps its statements, and begins every write by taking the lock; a statement that is provably a read takes none.
 */
export class LibsqlClient implements Client {
  readonly protocol = "file";
  readonly #connection: FileConnection;

  constructor(connection: FileConnection) {
    this.#connection = connection;
  }

  get closed(): boolean {
    return this.#connection.closed;
  }

  async execute(statement: InStatement, args?: InArgs): Promise<ResultSet> {
    const [only] = await this.#run([typeof statement === "string" ? [statement, args] : statement]);
    if (only === undefined) throw new Error("A statement without a result");
    return only;
  }

  /** All in one transaction, whatever the mode. */
  async batch(statements: BatchStatement[]): Promise<ResultSet[]> {
    return this.#run(statements);
  }

  /** All in one transaction, in which foreign keys are checked at the end only: migrations rebuild tables. */
  async migrate(statements: InStatement[]): Promise<ResultSet[]> {
    const parsed = statements.map(parse);
    return this.#connection.write(
      (scope) => {
        const results = parsed.map(({ sql, args }) => {
          if (args.length > 0) return toResultSet(scope.execute(sql, args));
          // A script, since a statement of a migration may lack its breakpoint: the rest would be dropped in silence.
          scope.script(sql);
          return toResultSet(nothing);
        });
        const violations = scope.all("SELECT * FROM pragma_foreign_key_check() LIMIT 1");
        if (violations.length > 0) {
          throw new Error(`The migration breaks a foreign key: ${JSON.stringify(violations[0])}`);
        }
        return results;
      },
      { beforeBegin: switchForeignKeysOff, afterEnd: restoreForeignKeys },
    );
  }

  /** Always a write transaction: a deferred one can meet SQLITE_BUSY_SNAPSHOT half-way and would stay stuck. */
  async transaction(): Promise<Transaction> {
    return new LibsqlTransaction(await this.#connection.begin());
  }

  async executeMultiple(script: string): Promise<void> {
    await this.#connection.write(
      (scope) => {
        scope.script(script);
      },
      { afterEnd: assertPragmas },
    );
  }

  sync(): Promise<Replicated> {
    return Promise.reject(new Error("A local file has nothing to sync with: Litestream replicates it"));
  }

  close(): void {
    throw new Error("The connection belongs to the tenant: it is closed by its owner");
  }

  reconnect(): void {
    throw new Error("The connection belongs to the tenant: it is opened again by its owner");
  }

  async #run(statements: readonly BatchStatement[]): Promise<ResultSet[]> {
    const parsed = statements.map(parse);
    return this.#connection.readOrWrite(
      parsed.map(({ sql }) => sql),
      (scope) => parsed.map(({ sql, args }) => toResultSet(scope.execute(sql, args))),
    );
  }
}

const nothing = { columns: [], columnTypes: [], rows: [], changes: 0, lastInsertRowid: undefined } as const;

/** SQLite ignores this inside a transaction. */
function switchForeignKeysOff(raw: RawConnection): void {
  raw.exec("PRAGMA foreign_keys = OFF");
}

function restoreForeignKeys(raw: RawConnection): void {
  raw.exec("PRAGMA foreign_keys = ON");
  assertPragmas(raw);
}

/** Nobody has looked at what a script does; it may hold pragmas. */
function assertPragmas(raw: RawConnection): void {
  raw.assertPragmas();
}

function parse(statement: BatchStatement): Statement {
  if (typeof statement === "string") return { sql: statement, args: [] };
  const [sql, args] = Array.isArray(statement) ? statement : [statement.sql, statement.args];
  if (args !== undefined && !Array.isArray(args)) {
    throw new ParameterError("Parameters go by position, as one array; names are not supported.");
  }
  return { sql, args: args ?? [] };
}

class LibsqlTransaction implements Transaction {
  readonly #held: HeldTransaction;

  constructor(held: HeldTransaction) {
    this.#held = held;
  }

  get closed(): boolean {
    return this.#held.end !== undefined;
  }

  async execute(statement: InStatement): Promise<ResultSet> {
    const { sql, args } = parse(statement);
    return toResultSet(this.#held.execute(sql, args));
  }

  async batch(statements: InStatement[]): Promise<ResultSet[]> {
    return statements.map(parse).map(({ sql, args }) => toResultSet(this.#held.execute(sql, args)));
  }

  async executeMultiple(script: string): Promise<void> {
    this.#held.script(script);
  }

  async commit(): Promise<void> {
    this.#held.commit();
  }

  async rollback(): Promise<void> {
    this.#held.rollBack();
  }

  close(): void {
    this.#held.rollBack();
  }
}
