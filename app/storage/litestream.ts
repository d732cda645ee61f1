import { writeFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { checkLitestream, requireNewEnough } from "./litestream-binary.ts";
import { connectLitestream, type LitestreamControl } from "./litestream-control.ts";
import type { Logger } from "./litestream-log.ts";
import { endOrphan, socketVariable } from "./litestream-orphan.ts";
import { startLitestream, type Environment, type LitestreamProcess } from "./litestream-process.ts";
import {
  locateLitestreamSocket,
  makeSocketFolder,
  removeSocketFolder,
  type LitestreamSocket,
} from "./litestream-socket.ts";

export type LitestreamState =
  /** `since` is in epoch milliseconds. */
  | { readonly kind: "up"; readonly since: number }
  | { readonly kind: "restarting"; readonly attempt: number; readonly error: string }
  | { readonly kind: "stopped" };

/** A Litestream that is started again, with back-off, whenever it dies. */
export interface Litestream {
  /** Stays the same over restarts; between two lives its calls fail. */
  readonly control: LitestreamControl;
  readonly state: LitestreamState;
  /** Grows before each start: a registration made while it was smaller is gone. */
  readonly life: number;
  /** Calls the listener after each restart, once the socket answers. The returned function ends that. */
  onRestart(listener: () => void): () => void;
  /** Resolves when Litestream is up; rejects after `timeoutMs`, or when it is stopped. */
  ready(timeoutMs: number): Promise<void>;
  /** Ends Litestream within seconds. It ships nothing first that can be relied on: sync and unregister before. */
  stop(): Promise<void>;
}

export interface LitestreamOptions {
  readonly binary: string;
  readonly configPath: string;
  readonly dataFolder: string;
  readonly environment: Environment;
  readonly log: Logger;
  /** Called at each start, when the process runs and is only waited for. */
  readonly onSpawned?: () => void;
}

const upWithinMs = 15_000;
/** Versions without a control socket never answer. */
const silentAfterMs = 1_000;
const endsWithinMs = 5_000;
/** One that lived for so long is restarted without memory of earlier deaths. */
const steadyAfterMs = 10_000;

/**
 * Starts Litestream and resolves when its socket answers; rejects, with nothing left running, if the first start
 * fails. An earlier life's Litestream is ended before. Call it from the main thread and holding the data folder's lock.
 */
export async function superviseLitestream(options: LitestreamOptions): Promise<Litestream> {
  const socket = locateLitestreamSocket(options.dataFolder);
  await makeSocketFolder(socket);
  await endOrphan({ ...options, socket });
  const supervisor = new Supervisor(options, socket);
  await supervisor.start();
  return supervisor;
}

/** How long to wait before the `attempt`th restart (the first is 1). */
export function restartDelayMs(attempt: number): number {
  return Math.min(100 * 2 ** (attempt - 1), 5_000);
}

class Supervisor implements Litestream {
  readonly control: LitestreamControl;
  readonly #options: LitestreamOptions;
  readonly #socket: LitestreamSocket;
  readonly #listeners = new Set<() => void>();
  readonly #stopping = new AbortController();
  #state: LitestreamState = { kind: "restarting", attempt: 0, error: "it is being started" };
  #stateChanged = Promise.withResolvers<void>();
  #life = 0;
  #process: LitestreamProcess | undefined;
  #watch: Promise<void> = Promise.resolve();
  #stopped: Promise<void> | undefined;

  constructor(options: LitestreamOptions, socket: LitestreamSocket) {
    this.#options = options;
    this.#socket = socket;
    this.control = connectLitestream(socket.socketPath);
  }

  get state(): LitestreamState {
    return this.#state;
  }

  get life(): number {
    return this.#life;
  }

  async start(): Promise<void> {
    // Where setpriv is missing, this is what a plain process.exit() has instead.
    process.on("exit", this.#killNow);
    try {
      const first = await this.#startOnce();
      this.#watch = this.#keepUp(first);
    } catch (error) {
      await this.stop();
      throw error;
    }
  }

  onRestart(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async ready(timeoutMs: number): Promise<void> {
    const timeout = new AbortController();
    const late = sleep(timeoutMs, "late" as const, { signal: timeout.signal }).catch(() => "late" as const);
    try {
      while (this.#state.kind !== "up") {
        if (this.#state.kind === "stopped") throw new Error("Litestream was stopped.");
        if ((await Promise.race([this.#stateChanged.promise, late])) === "late") {
          throw new Error(`Litestream did not come up within ${timeoutMs} ms: ${this.#state.error}`);
        }
      }
    } finally {
      timeout.abort();
    }
  }

  stop(): Promise<void> {
    this.#stopped ??= this.#stop();
    return this.#stopped;
  }

  async #stop(): Promise<void> {
    this.#stopping.abort();
    const running = this.#process;
    if (running) {
      running.kill("SIGTERM");
      const timer = setTimeout(() => running.kill("SIGKILL"), endsWithinMs);
      await running.ended;
      clearTimeout(timer);
    }
    await this.#watch;
    process.off("exit", this.#killNow);
    this.control.close();
    await removeSocketFolder(this.#socket);
    this.#become({ kind: "stopped" });
  }

  /** Ends when stopped; each round is one life of Litestream. */
  async #keepUp(first: LitestreamProcess): Promise<void> {
    let running = first;
    let attempt = 0;
    for (;;) {
      const startedAt = performance.now();
      const error = await running.ended;
      if (this.#stopping.signal.aborted) return;
      if (performance.now() - startedAt >= steadyAfterMs) attempt = 0;
      const next = await this.#restart(attempt + 1, error);
      if (!next) return;
      ({ running, attempt } = next);
    }
  }

  /** Tries until it is up again; undefined when stopped meanwhile. */
  async #restart(
    firstAttempt: number,
    death: string,
  ): Promise<{ readonly running: LitestreamProcess; readonly attempt: number } | undefined> {
    let error = death;
    for (let attempt = firstAttempt; ; attempt++) {
      this.#become({ kind: "restarting", attempt, error });
      const delayMs = restartDelayMs(attempt);
      this.#options.log.warn({ attempt, delayMs, error }, "Litestream died and is started again");
      await sleep(delayMs, undefined, { signal: this.#stopping.signal }).catch(() => {});
      if (this.#stopping.signal.aborted) return undefined;
      try {
        const running = await this.#startOnce();
        this.#announce();
        return { running, attempt };
      } catch (failure) {
        if (this.#stopping.signal.aborted) return undefined;
        error = failure instanceof Error ? failure.message : String(failure);
      }
    }
  }

  /** Resolves when the socket answers; else ends what it started and throws. */
  async #startOnce(): Promise<LitestreamProcess> {
    this.#life++;
    // Again before each start: /tmp is swept of old files on some systems.
    await makeSocketFolder(this.#socket);
    const { binary, configPath, environment, log } = this.#options;
    const started = await startLitestream({
      binary,
      arguments: ["replicate", "-config", configPath],
      environment: { ...environment, [socketVariable]: this.#socket.socketPath },
      log,
    });
    this.#process = started;
    this.#options.onSpawned?.();
    // A stop that came before there was a process to end.
    if (this.#stopping.signal.aborted) started.kill("SIGKILL");
    try {
      if (started.pid !== undefined)
        await writeFile(this.#socket.pidPath, String(started.pid), { mode: 0o600 });
      await this.#answers(started);
    } catch (error) {
      started.kill("SIGKILL");
      await started.ended;
      throw error;
    }
    this.#become({ kind: "up", since: Date.now() });
    log.info({ event: "litestream.started", pid: started.pid, life: this.#life }, "Litestream is up");
    return started;
  }

  /** What is not the right Litestream shows by its answer; only where there is none is the binary asked, by a process. */
  async #answers(started: LitestreamProcess): Promise<void> {
    const { binary } = this.#options;
    let end: string | undefined;
    void started.ended.then((reason) => (end = reason));
    const startedAt = performance.now();
    for (let asked = false; ;) {
      // A Litestream that cannot open its socket runs on without one.
      const info = await this.control.info().catch(() => undefined);
      const waitedMs = performance.now() - startedAt;
      if (!asked && (end !== undefined || waitedMs > silentAfterMs)) {
        asked = true;
        await checkLitestream(binary);
      }
      if (end !== undefined) throw new Error(`Litestream cannot be started: ${end}`);
      if (info !== undefined && info.pid === started.pid) return requireNewEnough(binary, info.version);
      if (waitedMs > upWithinMs) {
        throw new Error(
          `Litestream did not answer on "${this.#socket.socketPath}" within ${upWithinMs} ms of its start.`,
        );
      }
      await sleep(20);
    }
  }

  #become(state: LitestreamState): void {
    this.#state = state;
    this.#stateChanged.resolve();
    this.#stateChanged = Promise.withResolvers();
  }

  #announce(): void {
    for (const listener of this.#listeners) {
      try {
        listener();
      } catch (error) {
        this.#options.log.error({ err: error }, "what was to follow a restart of Litestream failed");
      }
    }
  }

  readonly #killNow = (): void => this.#process?.kill("SIGKILL");
}
