import { NotDurableError } from "../storage/errors.ts";

/** Two clocks, in milliseconds. A suspend, or a correction of the wall clock, moves them against each other. */
export interface Clocks {
  readonly wall: () => number;
  readonly monotonic: () => number;
}

export const systemClocks: Clocks = { wall: () => Date.now(), monotonic: () => performance.now() };

/** Corrections of the wall clock in small steps are nothing to be alarmed by. */
const boundMs = 1_000;

/**
 * After a suspend another host may have taken over long ago, while this one knows of no time that has passed. So whoever
 * wants to go on when the clocks have moved against each other waits for a proof first.
 */
export class JumpGuard {
  readonly #clocks: Clocks;
  readonly #prove: () => Promise<void>;
  readonly #onProved: () => void;
  #trusted: number;
  #proving: Promise<void> | null = null;

  /** `onProved` is called after each jump, when this host has proved itself. */
  constructor(clocks: Clocks, prove: () => Promise<void>, onProved: () => void) {
    this.#clocks = clocks;
    this.#prove = prove;
    this.#onProved = onProved;
    this.#trusted = this.#offset();
  }

  /** Null while nothing has happened. Else resolves once this host has proved itself; rejects with NotDurableError. */
  check(): Promise<void> | null {
    if (this.#proving !== null) return this.#proving;
    const offset = this.#offset();
    if (Math.abs(offset - this.#trusted) <= boundMs) return null;
    this.#proving = this.#proveAt(offset).finally(() => (this.#proving = null));
    return this.#proving;
  }

  async #proveAt(offset: number): Promise<void> {
    try {
      await this.#prove();
    } catch (error) {
      throw new NotDurableError(
        `the clock has jumped, and this host could not prove that it is still the one: ${(error as Error).message}`,
        { cause: error },
      );
    }
    this.#trusted = offset;
    this.#onProved();
  }

  #offset(): number {
    return this.#clocks.wall() - this.#clocks.monotonic();
  }
}
