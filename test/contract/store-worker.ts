import { fork } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { join } from "node:path";
import type { StoreSettings } from "../../app/storage/open-store.ts";
import type { WorkerAnswer, WorkerMessage } from "./object-store.worker.ts";

/** A process of its own that works on a store. */
export class StoreWorker {
  readonly #child: ChildProcess;

  constructor() {
    this.#child = fork(join(import.meta.dirname, "object-store.worker.ts"), { execArgv: [] });
  }

  static async open(url: string, settings: StoreSettings): Promise<StoreWorker> {
    const worker = new StoreWorker();
    await worker.ask({ do: "open", url, settings });
    return worker;
  }

  /** Throws if the process fails at it, or ends. */
  ask(message: WorkerMessage): Promise<Exclude<WorkerAnswer, { readonly kind: "failed" }>> {
    return new Promise((resolve, reject) => {
      const onExit = (): void => reject(new Error(`The store worker ended during "${message.do}".`));
      this.#child.once("exit", onExit);
      this.#child.once("message", (answer: WorkerAnswer) => {
        this.#child.off("exit", onExit);
        if (answer.kind === "failed") reject(new Error(`In the store worker: ${answer.why}`));
        else resolve(answer);
      });
      this.#child.send(message);
    });
  }

  /** Ends the process at once, wherever it is. */
  async kill(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const exited = new Promise((resolve) => this.#child.once("exit", resolve));
    this.#child.kill("SIGKILL");
    await exited;
  }
}
