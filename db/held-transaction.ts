import { DatabaseBusyError, TransactionClosedError, TransactionTimeoutError } from "./errors.ts";
import { isBusy } from "./raw-connection.ts";
import type { Executed, RawConnection } from "./raw-connection.ts";
import { Scope } from "./scope.ts";
import { databaseFailure } from "./failure.ts";

export interface HeldTransactionOptions {
  readonly path: string;
  readonly limitMs: number;
  /** Called once, after a commit that may have changed the file. */
  readonly onCommitted: () => void;
}

/** A transaction that is open across turns of the event loop, while its connection serves nobody else. */
export class HeldTransaction {
  /** Resolves when the transaction has ended, in whatever way: after `limitMs` at the latest. */
  readonly ended: Promise<void>;
  readonly #raw: RawConnection;
  readonly #options: HeldTransactionOptions;
  readonly #scope: Scope;
  readonly #timer: NodeJS.Timeout;
  #announceEnd!: () => void;
  /** Why it has ended, which every later use is told. */
  #end: Error | undefined;

  /** `raw` has just begun a transaction. */
  constructor(raw: RawConnection, options: HeldTransactionOptions) {
    this.#raw = raw;
    this.#options = options;
    this.#scope = new Scope(raw, options.path, "write");
    this.ended = new Promise((resolve) => {
      this.#announceEnd = resolve;
    });
    this.#timer = setTimeout(() => {
      this.#rollBack(new TransactionTimeoutError(options.path, options.limitMs));
    }, options.limitMs);
  }

  /** Why it is over; undefined while it is open. */
  get end(): Error | undefined {
    return this.#end;
  }

  execute(sql: string, parameters: readonly unknown[]): Executed {
    return this.#guarded(() => this.#scope.execute(sql, parameters));
  }

  script(sql: string): void {
    this.#guarded(() => {
      this.#scope.script(sql);
    });
  }

  commit(): void {
    this.#guarded(() => {
      const changed = this.#scope.mayHaveChanged();
      this.#raw.commit();
      this.#finish(new TransactionClosedError(this.#options.path));
      if (changed) this.#options.onCommitted();
    });
  }

  /** Does nothing once the transaction has ended. */
  rollBack(): void {
    if (this.#end === undefined) this.#rollBack(new TransactionClosedError(this.#options.path));
  }

  #guarded<T>(operation: () => T): T {
    if (this.#end !== undefined) throw this.#end;
    try {
      return operation();
    } catch (error) {
      const failure = this.#failure(error);
      // A full disk, for one, makes SQLite roll back by itself; to go on would commit half of the work.
      if (this.#end === undefined && (this.#raw.fault !== undefined || !this.#raw.inTransaction)) {
        this.#rollBack(failure);
      }
      throw failure;
    }
  }

  #failure(error: unknown): Error {
    const { path } = this.#options;
    if (isBusy(error)) return new DatabaseBusyError(path, "a transaction was open", 0, { cause: error });
    return databaseFailure(path, error);
  }

  #rollBack(end: Error): void {
    this.#raw.rollBack();
    this.#finish(end);
  }

  #finish(end: Error): void {
    clearTimeout(this.#timer);
    this.#scope.end();
    this.#end = end;
    this.#announceEnd();
  }
}
