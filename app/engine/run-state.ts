import { hasEnded, type RunPatch, type RunRecord } from "./journal.ts";
import { Waits } from "./waits.ts";

/**
 * What a run's record says of it, as far as it was written, and what it should say. A record that says that the run waits
 * is believed after a crash: the run is then not looked at before its time. So it says so only once the code has gone on
 * as far as it can, and says that the run is at work no later than with the row by which it has something to do.
 */
export class RunState {
  readonly waits = new Waits();
  #status: RunRecord["status"];
  #wakeAt: number | null;

  constructor({ status, wakeAt }: Pick<RunRecord, "status" | "wakeAt">) {
    this.#status = status;
    this.#wakeAt = wakeAt;
  }

  get status(): RunRecord["status"] {
    return this.#status;
  }

  get wakeAt(): number | null {
    return this.#wakeAt;
  }

  /** The patch counts as written from now on. */
  note({ status, wakeAt }: RunPatch): void {
    if (status !== undefined) this.#status = status;
    if (wakeAt !== undefined) this.#wakeAt = wakeAt;
  }

  /** What is written with any row: that the run is at work, if it is and the record does not say so. */
  atWork(): RunPatch | null {
    if (this.#status === "running") return null;
    const patch = this.whenSettled();
    return patch?.status === "running" ? patch : null;
  }

  /** What is to be written when the code has had its turn; null if the record says so already. */
  whenSettled(): RunPatch | null {
    if (hasEnded(this.#status) || this.#status === "paused") return null;
    const { status, wakeAt } = this.waits.summary();
    return status === this.#status && wakeAt === this.#wakeAt ? null : { status, wakeAt };
  }

  /** Whether the run does nothing but wait, and its record says just that. */
  get rests(): boolean {
    const rests = this.#status === "sleeping" || this.#status === "waiting";
    return rests && this.whenSettled() === null;
  }
}
