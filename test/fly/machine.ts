import { randomBytes } from "node:crypto";
import { rm } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { locateLitestreamSocket, removeSocketFolder } from "../../app/storage/litestream-socket.ts";
import { wipe } from "../../scripts/demo/sudden-death.ts";
import { ownPort } from "../../scripts/support/own-port.ts";
import type { WorkerLife } from "../support/worker.ts";
import { endProcessesOf, freezeProcessesOf, processesOf, thawProcessesOf } from "./machine-processes.ts";

/** Of those that Fly documents, the ones that this Machine is ever in. */
export type MachineState = "created" | "started" | "stopping" | "stopped" | "restarting" | "suspended";

export interface MachineOptions {
  readonly appName: string;
  readonly region: string;
  /** Below it lies the Machine's root file system; one folder may serve many Machines. */
  readonly folder: string;
  /** Starts its main process, with these settings before those that the app has for all its Machines. */
  readonly launch: (environment: Readonly<Record<string, string>>) => WorkerLife;
  /** Fly's own default is SIGINT; so is its `kill_timeout` of 5 s. */
  readonly killSignal?: NodeJS.Signals;
  readonly killTimeoutMs?: number;
  /** Of the policy on-failure: so often within 5 minutes; 10 by default. */
  readonly restarts?: number;
}

const restartWindowMs = 5 * 60_000;
/** How long Fly waits before it starts a failed process again is not documented. */
const restartDelayMs = 500;

/**
 * A Fly Machine, as far as its documents describe one (machines/machine-states, reference/configuration, restart policy,
 * suspend-resume): one main process with Fly's environment on a root file system that is fresh at each start.
 */
export class FlyMachine {
  readonly id = randomBytes(7).toString("hex");
  readonly region: string;
  /** Where its main process listens, the same in each of its lives. */
  readonly port: number;
  readonly dataFolder: string;
  readonly #options: MachineOptions;
  readonly #lives: WorkerLife[] = [];
  #state: MachineState = "created";
  #leftStartedAt: number | null = null;
  /** Of the restarts that the policy has made since somebody started it. */
  #restartedAt: number[] = [];
  #stopping: Promise<void> | null = null;

  private constructor(options: MachineOptions, port: number) {
    this.#options = options;
    this.region = options.region;
    this.port = port;
    this.dataFolder = `${options.folder}/${this.id}`;
  }

  /** Nothing is started yet. */
  static async create(options: MachineOptions): Promise<FlyMachine> {
    return new FlyMachine(options, await ownPort());
  }

  get state(): MachineState {
    return this.#state;
  }

  /** On the clock of `performance.now()`; null while it is started, or was never. */
  get leftStartedAt(): number | null {
    return this.#leftStartedAt;
  }

  /** Where other Machines reach it; on Fly they do by its private address. */
  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** The main process as it is or was last. */
  get life(): WorkerLife {
    const life = this.#lives.at(-1);
    if (life === undefined) throw new Error(`Machine ${this.id} was never started.`);
    return life;
  }

  get lives(): readonly WorkerLife[] {
    return this.#lives;
  }

  /** Resolves when its main process runs, which is before that one listens. Rejects in a state that cannot be started. */
  async start(): Promise<void> {
    if (this.#state === "started") return;
    // Documented as the proxy's error PM08.
    if (this.#state === "stopping" || this.#state === "restarting")
      throw new Error(`Machine ${this.id} is ${this.#state} and cannot be started.`);
    if (this.#state === "suspended") {
      thawProcessesOf(this.id, this.life.pid);
      this.#enter("started");
      return;
    }
    this.#restartedAt = [];
    this.#boot();
  }

  /** The kill signal to the main process, and after the kill timeout the end of all; what was suspended ends at once. */
  async stop(): Promise<void> {
    if (this.#state === "started" || this.#state === "suspended" || this.#state === "restarting")
      this.#stopping = this.#stop(this.#state === "suspended");
    await this.#stopping;
  }

  /** Freezes every process where it is. On Fly its wall clock stands still too, until NTP mends it; here it runs on. */
  async suspend(): Promise<void> {
    if (this.#state !== "started") throw new Error(`Machine ${this.id} is ${this.#state}, not started.`);
    this.#enter("suspended");
    await freezeProcessesOf(this.id, this.life.pid);
  }

  /** SIGKILL to every process at the same instant; then the restart policy does what it does. */
  async crash(): Promise<void> {
    if (this.#state === "suspended") this.#enter("started");
    await endProcessesOf(this.id);
    await this.life.exited;
  }

  /** What it runs now, its main process among it. */
  processes(): readonly number[] {
    return processesOf(this.id);
  }

  /** Resolves when the state is that one; throws if it is not within 30 s. */
  async reaches(state: MachineState): Promise<void> {
    const deadline = performance.now() + 30_000;
    while (this.#state !== state) {
      if (performance.now() > deadline)
        throw new Error(`Machine ${this.id} is ${this.#state}, not ${state}. ${this.life.describe()}`);
      await sleep(5);
    }
  }

  /** Ends it without a word, for good. */
  async destroy(): Promise<void> {
    this.#enter("stopping");
    await endProcessesOf(this.id);
    this.#enter("stopped");
    await rm(this.dataFolder, { recursive: true, force: true });
    await removeSocketFolder(locateLitestreamSocket(this.dataFolder));
  }

  #boot(): void {
    const life = this.#options.launch(this.#environment());
    this.#lives.push(life);
    this.#enter("started");
    void life.exited.then(({ code }) => this.#ended(code));
  }

  /** Fly sets these; the rest would be set by fly.toml or as a secret, but that all Machines here share one address. */
  #environment(): Record<string, string> {
    return {
      FLY_APP_NAME: this.#options.appName,
      FLY_MACHINE_ID: this.id,
      FLY_REGION: this.region,
      FLY_PRIVATE_IP: "::1",
      PORT: String(this.port),
      HOLDFAST_DATA: this.dataFolder,
      HOLDFAST_ADVERTISE: this.url,
    };
  }

  /** The main process has ended by itself. The root file system does not outlive a restart either (`persist_rootfs`). */
  async #ended(code: number | null): Promise<void> {
    if (this.#state !== "started") return;
    const now = performance.now();
    this.#restartedAt = this.#restartedAt.filter((at) => now - at < restartWindowMs);
    const again = code !== 0 && this.#restartedAt.length < (this.#options.restarts ?? 10);
    this.#enter(again ? "restarting" : "stopping");
    if (!again) {
      this.#stopping = this.#clear().then(() => this.#enter("stopped"));
      return await this.#stopping;
    }
    await this.#clear();
    await sleep(restartDelayMs);
    if (this.state !== "restarting") return;
    this.#restartedAt.push(now);
    this.#boot();
  }

  async #stop(isFrozen: boolean): Promise<void> {
    this.#enter("stopping");
    const { life } = this;
    const { killSignal = "SIGINT", killTimeoutMs = 5_000 } = this.#options;
    if (!isFrozen && processesOf(this.id).includes(life.pid)) {
      process.kill(life.pid, killSignal);
      const late = new AbortController();
      const { signal } = late;
      await Promise.race([life.exited, sleep(killTimeoutMs, undefined, { signal }).catch(() => {})]);
      late.abort();
    }
    await this.#clear();
    this.#enter("stopped");
  }

  async #clear(): Promise<void> {
    await endProcessesOf(this.id);
    await this.life.exited;
    await wipe(this.dataFolder);
  }

  #enter(state: MachineState): void {
    if (this.#state === "started" && state !== "started") this.#leftStartedAt = performance.now();
    if (state === "started") this.#leftStartedAt = null;
    this.#state = state;
  }
}
