import type { RequestMetrics } from "./metrics.ts";

/** Between the start and the loading; more than a host answers in that time. */
const maxMissed = 20_000;

/**
 * Metrics that are loaded a little later than all that the first request needs: after `afterMs`, or when the first scrape
 * comes. What is to be counted before is counted then.
 */
export class LaterMetrics implements RequestMetrics {
  readonly #load: () => Promise<RequestMetrics>;
  readonly #missed: ((metrics: RequestMetrics) => void)[] = [];
  #loading: Promise<RequestMetrics> | null = null;
  #loaded: RequestMetrics | null = null;

  constructor(load: () => Promise<RequestMetrics>, { afterMs }: { readonly afterMs: number }) {
    this.#load = load;
    // Who scrapes them is told of a failure, and has it tried again.
    setTimeout(() => void this.#get().catch(() => {}), afterMs).unref();
  }

  answered(...request: Parameters<RequestMetrics["answered"]>): void {
    this.#count((metrics) => metrics.answered(...request));
  }

  forwarded(outcome: string): void {
    this.#count((metrics) => metrics.forwarded(outcome));
  }

  async scrape(): ReturnType<RequestMetrics["scrape"]> {
    return await (await this.#get()).scrape();
  }

  #count(count: (metrics: RequestMetrics) => void): void {
    if (this.#loaded !== null) count(this.#loaded);
    else if (this.#missed.length < maxMissed) this.#missed.push(count);
  }

  #get(): Promise<RequestMetrics> {
    this.#loading ??= this.#load().then(
      (metrics) => {
        this.#loaded = metrics;
        for (const count of this.#missed.splice(0)) count(metrics);
        return metrics;
      },
      (error: unknown) => {
        this.#loading = null;
        throw error;
      },
    );
    return this.#loading;
  }
}
