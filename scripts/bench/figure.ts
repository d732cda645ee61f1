/** One thing that was measured, beside what the same machine could do at most in the same minutes. */
export interface Figure {
  readonly what: string;
  /** The median of its rounds. */
  readonly value: number;
  /** Where it is a latency: the slowest of a hundred. */
  readonly p99?: number;
  /** Also says which way is better: a rate (`…/s`) should be high, anything else low. */
  readonly unit: string;
  readonly floor: Floor | null;
  /** What we want, in words. */
  readonly aim?: string;
  /** Facts that belong to the figure, from the same rounds. */
  readonly note?: string;
  /** Where the processor's time went, from a profile of a round of its own. */
  readonly profile?: string;
}

/** The same work without us. */
export interface Floor {
  readonly what: string;
  readonly value: number;
  readonly p99?: number;
}

/** Parts of the bench by their names; sizes are theirs. */
export interface Part {
  readonly name: string;
  readonly title: string;
  /** `tiny` shows only that it runs. */
  readonly run: (size: Size) => Promise<readonly Figure[]>;
}

export type Size = "full" | "tiny";
