import { AsyncLocalStorage } from "node:async_hooks";
import { setTimeout as delay } from "node:timers/promises";
import {
  ConnectionClosedError,
  DatabaseBusyError,
  NestedTransactionError,
  TransactionTimeoutError,
} from "./errors.ts";
import { databaseFailure } from "./failure.ts";
import { HeldTransaction } from "./held-transaction.ts";
import { isBusy, RawConnection } from "./raw-connection.ts";
import { Scope } from "./scope.ts";
import { SerialQueue } from "./serial-queue.ts";

export interface FileConnectionOptions {
  readonly busyTimeoutMs: number;
  readonly transactionTimeoutMs: number;
  readonly queueLimit: number;
  readonly keptStatements: number;
  readonly onCommit: (commits: number) => void;
}

/** What the callback of one `transaction` carries with it through its async calls. */
interface TransactionContext {
  /** Undefined until the transaction has begun. */
  held: HeldTransaction | undefined;
  /** Rejects what waits for the callback, which may never end. */
  readonly abandon: (error: Error) => void;
}

const firstDelayMs = 1;
const maxDelayMs = 16;

/**
 * The only writer of a file: one handle behind one queue, opened by the first operation and replaced when it has a fault.
 * SQLITE_BUSY is waited out without blocking the event loop. A write begins by taking the lock, so it meets BUSY there and
 * nowhere else, as long as the file's other users only checkpoint.
 */
export class FileConnection {
  readonly path: string;
  readonly #options: FileConnectionOptions;
  readonly #queue: SerialQueue;
  readonly #contexts = new AsyncLocalStorage<TransactionContext>();
  #raw: RawConnection | undefined;
  #working = false;
  #closed: Promise<void> | undefined;
  #commits = 0;
  #busyCount = 0;
  #replacedCount = 0;

  constructor(path: string, options: FileConnectionOptions) {
    this.path = path;
    this.#options = options;
    this.#queue = new SerialQueue(path, options.queueLimit);
  }

  get commits(): number {
    return this.#commits;
  }

  get busyCount(): number {
    return this.#busyCount;
  }

  get replacedCount(): number {
    return this.#replacedCount;
  }

  get closed(): boolean {
    return this.#closed !== undefined;
  }

  /** `beforeBegin` runs on the handle outside of the transaction, and `afterEnd` whatever came of it. */
  write<T>(work: (scope: Scope) => T, around: Around = {}): Promise<T> {
    return this.#enqueue(() =>
      this.#attempt("a write wanted to begin", (raw) => {
        around.beforeBegin?.(raw);
        try {
          return this.#transact(raw, work);
        } finally {
          around.afterEnd?.(raw);
        }
      }),
    );
  }

  read<T>(work: (scope: Scope) => T): Promise<T> {
    return this.#enqueue(() => this.#attempt("a read wanted to run", (raw) => this.#look(raw, work)));
  }

  /** Reads if all the statements are provably reads, else writes. */
  readOrWrite<T>(statements: readonly string[], work: (scope: Scope) => T): Promise<T> {
    return this.#enqueue(() =>
      this.#attempt("a statement wanted to run", (raw) =>
        statements.every((sql) => raw.kind(sql).is === "read")
          ? this.#look(raw, work)
          : this.#transact(raw, work),
      ),
    );
  }

  /** Begins a transaction that keeps everyone else waiting until it has ended. */
  begin(): Promise<HeldTransaction> {
    const context = this.#contexts.getStore();
    const { promise, resolve, reject } = Promise.withResolvers<HeldTransaction>();
    this.#enqueue(async () => {
      const raw = await this.#attempt("a transaction wanted to begin", (handle) => {
        handle.begin();
        return handle;
      });
      const held = new HeldTransaction(raw, {
        path: this.path,
        limitMs: this.#options.transactionTimeoutMs,
        onCommitted: () => {
          this.#committed();
        },
      });
      if (context !== undefined) context.held = held;
      resolve(held);
      await held.ended;
      if (held.end instanceof TransactionTimeoutError) context?.abandon(held.end);
      if (raw.fault !== undefined) this.#replace();
    }).catch(reject);
    return promise;
  }

  /**
   * Runs `callback`, which calls `begin` once, so that every use of this connection inside it is refused while that
   * transaction is open. Rejects as soon as the transaction was ended for taking too long.
   */
  transaction<T>(callback: () => Promise<T>): Promise<T> {
    if (this.#isNested()) return Promise.reject(new NestedTransactionError(this.path));
    const abandoned = Promise.withResolvers<never>();
    const context: TransactionContext = { held: undefined, abandon: abandoned.reject };
    return Promise.race([this.#contexts.run(context, callback), abandoned.promise]);
  }

  async idle(): Promise<void> {
    await this.#enqueue(() => undefined);
  }

  close(): Promise<void> {
    if (this.#isNested()) return Promise.reject(new NestedTransactionError(this.path));
    this.#closed ??= this.#queue.runLast(() => {
      this.#raw?.close();
      this.#raw = undefined;
    });
    return this.#closed;
  }

  #enqueue<T>(operation: () => T | Promise<T>): Promise<T> {
    if (this.#isNested()) return Promise.reject(new NestedTransactionError(this.path));
    if (this.closed) return Promise.reject(new ConnectionClosedError(this.path));
    return this.#queue.run(operation);
  }

  #isNested(): boolean {
    const held = this.#contexts.getStore()?.held;
    return this.#working || (held !== undefined && held.end === undefined);
  }

  /** Repeats `operation` while it meets BUSY, for `busyTimeoutMs` at most; a handle with a fault is replaced. */
  async #attempt<T>(what: string, operation: (raw: RawConnection) => T): Promise<T> {
    const startedAt = performance.now();
    for (let delayMs = firstDelayMs; ; delayMs = Math.min(delayMs * 2, maxDelayMs)) {
      try {
        this.#raw ??= new RawConnection(this.path, this.#options.keptStatements);
        return operation(this.#raw);
      } catch (error) {
        if (this.#raw?.fault !== undefined) this.#replace();
        if (!isBusy(error)) throw databaseFailure(this.path, error);
        this.#busyCount += 1;
        const waitedMs = Math.round(performance.now() - startedAt);
        if (waitedMs >= this.#options.busyTimeoutMs) {
          throw new DatabaseBusyError(this.path, what, waitedMs, { cause: error });
        }
      }
      await delay(delayMs);
    }
  }

  #transact<T>(raw: RawConnection, work: (scope: Scope) => T): T {
    raw.begin();
    const scope = new Scope(raw, this.path, "write");
    let result: T;
    let changed: boolean;
    try {
      result = this.#work(raw, scope, work);
      changed = scope.mayHaveChanged();
      raw.commit();
    } catch (error) {
      raw.rollBack();
      throw error;
    }
    if (changed) this.#committed();
    return result;
  }

  #look<T>(raw: RawConnection, work: (scope: Scope) => T): T {
    return this.#work(raw, new Scope(raw, this.path, "read"), work);
  }

  #work<T>(raw: RawConnection, scope: Scope, work: (scope: Scope) => T): T {
    this.#working = true;
    try {
      const result = work(scope);
      if (isThenable(result)) {
        if (result instanceof Promise) result.catch(() => undefined);
        throw new TypeError(
          "The work of a write or read must be synchronous: what it awaits would run outside",
        );
      }
      // The work may have caught the error, but what it did cannot be committed.
      if (raw.fault !== undefined) throw raw.fault;
      return result;
    } finally {
      this.#working = false;
      scope.end();
    }
  }

  #committed(): void {
    this.#commits += 1;
    this.#options.onCommit(this.#commits);
  }

  #replace(): void {
    this.#raw?.close();
    this.#raw = undefined;
    this.#replacedCount += 1;
  }
}

/** What must happen on the handle outside of a write's transaction. */
export interface Around {
  readonly beforeBegin?: (raw: RawConnection) => void;
  readonly afterEnd?: (raw: RawConnection) => void;
}

/** Queries of Drizzle are thenables too: they would run once awaited, which is behind the very operation that awaits them. */
function isThenable(value: unknown): boolean {
  return typeof value === "object" && value !== null && "then" in value && typeof value.then === "function";
}
