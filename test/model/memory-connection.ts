import type { Connection, Statements } from "../../db/connect.ts";
import type { MemoryDatabase } from "../fakes/memory-disk.ts";

export class ClosedError extends Error {
  override readonly name = "ClosedError";
}

/** A connection to a file in memory: one operation after the other, each a step. A write is its statement's first parameter. */
export class MemoryConnection implements Connection {
  readonly path: string;
  readonly busyCount = 0;
  readonly replacedCount = 0;
  commits = 0;
  readonly #database: MemoryDatabase;
  readonly #step: (what: string) => Promise<void>;
  readonly #onCommit: () => void;
  #queue: Promise<unknown> = Promise.resolve();
  #closed = false;

  constructor(
    path: string,
    database: MemoryDatabase,
    { step, onCommit }: { readonly step: (what: string) => Promise<void>; readonly onCommit: () => void },
  ) {
    this.path = path;
    this.#database = database;
    this.#step = step;
    this.#onCommit = onCommit;
  }

  get db(): never {
    throw new Error("There is no Drizzle on a file in memory.");
  }

  write<T>(work: (tx: Statements) => T): Promise<T> {
    return this.#enqueue("commit", () => {
      const result = work(this.#statements());
      this.commits += 1;
      this.#onCommit();
      return result;
    });
  }

  read<T>(work: (tx: Statements) => T): Promise<T> {
    return this.#enqueue("read", () => work(this.#statements()));
  }

  async idle(): Promise<void> {
    await this.#queue;
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#queue;
  }

  #enqueue<T>(what: string, work: () => T): Promise<T> {
    if (this.#closed) return Promise.reject(new ClosedError("The file was closed."));
    const done = this.#queue.then(() => this.#step(what)).then(work);
    this.#queue = done.catch(() => {});
    return done;
  }

  #statements(): Statements {
    const run = (_sql: string, [write]: readonly unknown[]): { readonly changes: number } => {
      this.#database.writes.push(String(write));
      return { changes: 1 };
    };
    const all = (): unknown => this.#database.writes.map((write) => ({ write }));
    return { run, all } as unknown as Statements;
  }
}

/** All writes of a file in memory, in order. */
export function allOf(on: Statements): readonly string[] {
  return on.all<{ readonly write: string }>("SELECT").map(({ write }) => write);
}
