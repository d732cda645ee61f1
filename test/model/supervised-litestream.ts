import type { LitestreamControl } from "../../app/storage/litestream-control.ts";
import type { Litestream, LitestreamState } from "../../app/storage/litestream.ts";
import type { ModelLitestream } from "./litestream.ts";
import type { Actor, Schedule } from "./schedule.ts";

/** A host's Litestream: when its process has died another one is started, which knows no file yet. */
export class SupervisedLitestream implements Litestream {
  /** Calls whichever process there is. */
  control: LitestreamControl;
  life = 1;
  state: LitestreamState = { kind: "up", since: 0 };
  process: ModelLitestream;
  readonly #host: Actor;
  readonly #schedule: Schedule;
  readonly #start: () => ModelLitestream;
  readonly #listeners = new Set<() => void>();

  constructor(host: Actor, schedule: Schedule, start: () => ModelLitestream) {
    this.#host = host;
    this.#schedule = schedule;
    this.#start = start;
    this.process = start();
    const now = (): LitestreamControl => this.process.control(host);
    this.control = {
      register: (database) => now().register(database),
      sync: (database) => now().sync(database),
      unregister: (database) => now().unregister(database),
      info: () => now().info(),
      list: () => now().list(),
      close: () => {},
    };
  }

  /** The process dies. The host notices, and starts another, when chance lets it. */
  die(): void {
    if (!this.process.actor.alive) return;
    this.process.kill();
    const notice = (): void => {
      this.state = { kind: "restarting", attempt: 1, error: "it has died" };
      this.#schedule.add({
        actor: this.#host,
        what: "Litestream is started again",
        run: () => this.#restart(),
      });
    };
    this.#schedule.add({ actor: this.#host, what: "Litestream's death is noticed", run: notice });
  }

  onRestart(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  async ready(): Promise<void> {}

  async stop(): Promise<void> {
    this.process.kill();
    this.state = { kind: "stopped" };
  }

  #restart(): void {
    if (this.state.kind === "stopped") return;
    this.life += 1;
    this.process = this.#start();
    this.state = { kind: "up", since: this.#schedule.now };
    for (const listener of this.#listeners) listener();
  }
}
