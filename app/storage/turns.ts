interface Waiting {
  readonly weight: number;
  readonly admit: () => void;
}

/** Lets so much work run at a time; the rest waits, in the order in which it came. */
export class Turns {
  readonly #limit: number;
  readonly #waiting: Waiting[] = [];
  #taken = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** `weight` is in the unit of the limit; what is heavier than that runs alone. */
  async take<T>(work: () => Promise<T>, weight = 1): Promise<T> {
    const taken = Math.min(weight, this.#limit);
    await new Promise<void>((admit) => {
      this.#waiting.push({ weight: taken, admit });
      this.#admit();
    });
    try {
      return await work();
    } finally {
      this.#taken -= taken;
      this.#admit();
    }
  }

  #admit(): void {
    for (
      let [next] = this.#waiting;
      next !== undefined && this.#taken + next.weight <= this.#limit;
      [next] = this.#waiting
    ) {
      this.#waiting.shift();
      this.#taken += next.weight;
      next.admit();
    }
  }
}
