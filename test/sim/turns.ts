const setImmediateOfNode = globalThis.setImmediate;

/**
 * The turns of the event loop, taken one by one: so a simulation knows when nothing can go on any more without its clock,
 * and can end a process between any two of them.
 */
export class Turns {
  readonly #queue: (() => void)[] = [];
  taken = 0;

  /** From now on `setImmediate` waits for `take`; the returned function undoes it. */
  install(): () => void {
    const later = (work: (...args: unknown[]) => void, ...args: unknown[]): void =>
      void this.#queue.push(() => work(...args));
    globalThis.setImmediate = later as unknown as typeof setImmediate;
    return () => void (globalThis.setImmediate = setImmediateOfNode);
  }

  get waiting(): number {
    return this.#queue.length;
  }

  /** One turn, and all that can go on after it. */
  async take(): Promise<void> {
    this.taken += 1;
    this.#queue.shift()?.();
    await new Promise<void>((resolve) => void setImmediateOfNode(resolve));
  }
}
