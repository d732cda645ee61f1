import type { IncomingMessage } from "node:http";
import type { Writable } from "node:stream";

/**
 * A request's body on its way to one Machine after another. It is streamed, and what has passed is kept up to `maxKept`
 * bytes, so that it can be sent again.
 */
export class RequestBody {
  readonly #source: IncomingMessage;
  readonly #maxKept: number;
  #kept: Buffer[] | null = [];
  #keptBytes = 0;
  #target: Writable | null = null;
  #hasEnded = false;

  constructor(source: IncomingMessage, maxKept: number) {
    this.#source = source;
    this.#maxKept = maxKept;
    source.pause();
    source.on("data", (chunk: Buffer) => this.#pass(chunk));
    source.on("end", () => {
      this.#hasEnded = true;
      this.#target?.end();
    });
    source.on("error", (error) => this.#target?.destroy(error));
    source.pause();
  }

  /** Whether all that has passed is still there. */
  get canBeSentAgain(): boolean {
    return this.#kept !== null;
  }

  /** Sends it from its beginning; what comes later follows as it comes. */
  sendTo(target: Writable): void {
    if (this.#kept === null) throw new Error("The body's beginning is gone.");
    this.#target = target;
    for (const chunk of this.#kept) target.write(chunk);
    target.on("drain", () => {
      if (this.#target === target) this.#source.resume();
    });
    if (this.#hasEnded) target.end();
    else this.#source.resume();
  }

  /** Sends nothing more there; what has not passed yet waits. */
  detach(): void {
    this.#target = null;
    this.#source.pause();
  }

  #pass(chunk: Buffer): void {
    this.#keptBytes += chunk.byteLength;
    if (this.#keptBytes > this.#maxKept) this.#kept = null;
    else this.#kept?.push(chunk);
    if (this.#target === null || !this.#target.write(chunk)) this.#source.pause();
  }
}
