/** After an opening that failed the next one waits, twice as long each time, up to the bound. */
const firstRetryMs = 500;
export const maxRetryMs = 30_000;

/** How long a tenant's next opening waits. Times are epoch milliseconds. */
export class OpeningBackoff {
  #failures = 0;
  /** Epochs in a row that were given up soon after they were opened. */
  #drops = 0;
  #openedAt = 0;

  /** Whether the last opening failed. */
  get hasFailed(): boolean {
    return this.#failures > 0;
  }

  opened(now: number): void {
    this.#failures = 0;
    this.#openedAt = now;
  }

  /** An opening failed; gives for how long the next one should wait. */
  failed(): number {
    this.#failures += 1;
    return delayMs(this.#failures);
  }

  /**
   * An epoch was given up; gives for how long the next opening should wait, 0 at first. What breaks every epoch, such as a
   * run that cannot be read, would otherwise claim a new one every second.
   */
  dropped(now: number): number {
    if (now - this.#openedAt > maxRetryMs) this.#drops = 0;
    this.#drops += 1;
    return this.#drops === 1 ? 0 : delayMs(this.#drops - 1);
  }
}

function delayMs(failures: number): number {
  return Math.min(firstRetryMs * 2 ** (failures - 1), maxRetryMs);
}
