export interface Wake {
  readonly at: number;
  readonly runId: string;
  readonly agent: string;
}

/** What is due when, the earliest first; a binary heap, with one wake a run. Times are epoch milliseconds. */
export class WakeHeap {
  readonly #heap: Wake[] = [];
  /** The wakes that count; what else is in the heap was taken out, and goes when it comes to the top. */
  readonly #byRun = new Map<string, Wake>();

  get size(): number {
    return this.#byRun.size;
  }

  /** The earliest moment, or null. */
  get next(): number | null {
    return this.#first()?.at ?? null;
  }

  /** Takes the place of the run's earlier wake. */
  add(wake: Wake): void {
    this.#byRun.set(wake.runId, wake);
    this.#heap.push(wake);
    let index = this.#heap.length - 1;
    while (index > 0) {
      const parent = (index - 1) >> 1;
      if (this.#at(parent) <= wake.at) break;
      this.#swap(index, parent);
      index = parent;
    }
  }

  remove(runId: string): void {
    this.#byRun.delete(runId);
  }

  /** Takes out the earliest that is due at `now`, or gives undefined. */
  takeDue(now: number): Wake | undefined {
    const first = this.#first();
    if (first === undefined || first.at > now) return undefined;
    this.#byRun.delete(first.runId);
    this.#drop();
    return first;
  }

  #first(): Wake | undefined {
    for (;;) {
      const [first] = this.#heap;
      if (first === undefined || this.#byRun.get(first.runId) === first) return first;
      this.#drop();
    }
  }

  /** Takes off the top. */
  #drop(): void {
    const last = this.#heap.pop();
    if (last === undefined || this.#heap.length === 0) return;
    this.#heap[0] = last;
    for (let index = 0; ;) {
      let least = index;
      for (const child of [2 * index + 1, 2 * index + 2])
        if (this.#at(child) < this.#at(least)) least = child;
      if (least === index) return;
      this.#swap(index, least);
      index = least;
    }
  }

  #at(index: number): number {
    return this.#heap[index]?.at ?? Infinity;
  }

  #swap(a: number, b: number): void {
    const entry = this.#heap[a];
    const other = this.#heap[b];
    if (entry === undefined || other === undefined) return;
    this.#heap[a] = other;
    this.#heap[b] = entry;
  }
}
