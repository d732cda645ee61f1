import type { TenantRecord } from "../../app/storage/records.ts";

/** A promise was broken. */
export class Violation extends Error {
  override readonly name = "Violation";
}

export interface Acknowledgement {
  readonly host: string;
  readonly epoch: number;
  /** All that the answer shows or rests on: the file's writes, in order. */
  readonly content: readonly string[];
  /** What `begin` gave when the request came. */
  readonly begun: number;
}

/** What clients of the tenant were told, and what must therefore be true ever after. It fails on the first contradiction. */
export class Witness {
  readonly #onTold: (shown: readonly string[]) => void;
  /** The longest history that anybody was shown. */
  #shown: readonly string[] = [];
  /** Which host has acknowledged in an epoch. */
  readonly #hosts = new Map<number, string>();
  /** How much of it had been shown when an epoch was claimed. */
  readonly #shownAtClaim = new Map<number, number>();
  #epoch = 0;
  acknowledged = 0;

  /** `onTold` may throw a Violation too. */
  constructor(onTold: (shown: readonly string[]) => void = () => {}) {
    this.#onTold = onTold;
  }

  get shown(): readonly string[] {
    return this.#shown;
  }

  /** The newest that was claimed. */
  get epoch(): number {
    return this.#epoch;
  }

  /** How much clients know when a request is sent. */
  begin(): number {
    return this.#shown.length;
  }

  told({ host, epoch, content, begun }: Acknowledgement): void {
    this.acknowledged += 1;
    const owner = this.#hosts.get(epoch) ?? host;
    if (owner !== host) throw new Violation(`epoch ${epoch} is acknowledged by ${owner} and by ${host}`);
    this.#hosts.set(epoch, host);
    const [shorter, longer] =
      content.length < this.#shown.length ? [content, this.#shown] : [this.#shown, content];
    if (!startsWith(longer, shorter))
      throw new Violation(
        `${host} shows ${textOf(content)} in epoch ${epoch}, and ${textOf(this.#shown)} was shown: neither contains the other`,
      );
    if (content.length < begun)
      throw new Violation(
        `${host} shows ${textOf(content)} in epoch ${epoch} to one who asked after ${textOf(this.#shown.slice(0, begun))} was shown`,
      );
    this.#shown = longer;
    this.#onTold(longer);
  }

  /** The tenant's record was written. */
  recorded({ epoch }: Pick<TenantRecord, "epoch">): void {
    if (epoch < this.#epoch)
      throw new Violation(`the tenant's epoch went back from ${this.#epoch} to ${epoch}`);
    if (epoch > this.#epoch) this.#shownAtClaim.set(epoch, this.#shown.length);
    this.#epoch = epoch;
  }

  /** A host opens the tenant's file: nothing may have been left behind, even if the host has lost the tenant meanwhile. */
  opened(epoch: number, content: readonly string[]): void {
    const before = this.#shown.slice(0, this.#shownAtClaim.get(epoch) ?? 0);
    if (!startsWith(content, before))
      throw new Violation(
        `epoch ${epoch} is opened with ${textOf(content)}, and ${textOf(before)} was shown before it was claimed`,
      );
  }
}

/** A history as a person reads it. */
export function textOf(history: readonly string[]): string {
  return `[${history.join(" ")}]`;
}

function startsWith(whole: readonly string[], start: readonly string[]): boolean {
  return start.every((write, index) => whole[index] === write);
}
