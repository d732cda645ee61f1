import type { Journal } from "../../app/engine/journal.ts";

/** What stands around a call of a journal: `call` makes it. */
export type Around = (method: keyof Journal, call: () => Promise<unknown>) => Promise<unknown>;

/** The journal, with something around each of its calls. */
export function intercepted(journal: Journal, around: Around): Journal {
  return new Proxy(journal, {
    get(target, method) {
      const value: unknown = Reflect.get(target, method, target);
      if (typeof value !== "function") return value;
      return (...args: unknown[]): Promise<unknown> =>
        around(method as keyof Journal, () => Reflect.apply(value, target, args) as Promise<unknown>);
    },
  });
}

/** Once told to, holds back the answers of one method of a journal, whose work is done by then. */
export class HeldAnswers {
  readonly #method: keyof Journal;
  #held: PromiseWithResolvers<void> | null = null;
  #reached = Promise.withResolvers<void>();

  constructor(method: keyof Journal) {
    this.#method = method;
  }

  hold(): void {
    this.#held = Promise.withResolvers();
    this.#reached = Promise.withResolvers();
  }

  /** Resolves when an answer is held back. */
  get reached(): Promise<void> {
    return this.#reached.promise;
  }

  letGo(): void {
    this.#held?.resolve();
    this.#held = null;
  }

  readonly wrap = (journal: Journal): Journal =>
    intercepted(journal, async (method, call) => {
      const result = await call();
      if (method === this.#method && this.#held !== null) {
        this.#reached.resolve();
        await this.#held.promise;
      }
      return result;
    });
}
