import type { Clock } from "./clock.ts";
import type { Execution } from "./execution.ts";
import { ReadyQueue } from "./ready-queue.ts";
import { WakeHeap, type Wake } from "./wake-heap.ts";

export interface SchedulerOptions {
  readonly clock: Clock;
  /** So many runs may be in memory; more wait their turn. */
  readonly maxLive: number;
  /** A run that does nothing but wait is dropped from memory after so long, or sooner if others need the room. */
  readonly parkAfterMs: number;
  /**
   * Brings a run to life by `begin`, while nobody else changes it; false if there is nothing to be done for it. `begin` says
   * whether it did: after a stop nothing begins.
   */
  readonly load: (runId: string, begin: (execution: Execution) => boolean) => Promise<boolean>;
  readonly onTrouble: (error: unknown) => void;
}

/** Which runs of a tenant are in memory, which wait for a place there, and which for a moment. */
export class Scheduler {
  readonly #options: SchedulerOptions;
  readonly #live = new Map<string, Execution>();
  readonly #loading = new Set<string>();
  /** Runs that were woken while they were being loaded or parked: what woke them may have come too late for that. */
  readonly #again = new Set<string>();
  readonly #ready = new ReadyQueue();
  readonly #heap = new WakeHeap();
  /** Live runs that do nothing but wait, and since when, the longest first. */
  readonly #waiting = new Map<string, number>();
  #cancelTimer: (() => void) | null = null;
  #timerAt = Infinity;
  #stopped = false;

  constructor(options: SchedulerOptions) {
    this.#options = options;
  }

  get live(): ReadonlyMap<string, Execution> {
    return this.#live;
  }

  /** Runs that something is being done for, or will be as soon as there is room. */
  get busy(): number {
    let working = this.coming;
    // One that has ended, or was paused, and is still here has not been written so.
    for (const { status } of this.#live.values())
      if (status !== "sleeping" && status !== "waiting") working += 1;
    return working;
  }

  /** Runs that are to come to life as soon as there is room, or are being read. */
  get coming(): number {
    return this.#ready.size + this.#loading.size;
  }

  /** Runs that are not in memory and wait for a moment. */
  get parked(): number {
    return this.#heap.size;
  }

  /** The earliest moment at which a run that is not in memory is due; null if there is none. */
  get nextWakeAt(): number | null {
    return this.#heap.next;
  }

  /** Whether a run that is made now may begin at once. */
  get hasRoom(): boolean {
    return !this.#stopped && this.#ready.size === 0 && this.#fits();
  }

  /** The run has something to do: it comes to life as soon as there is room; after a stop it is left to be done. */
  wake(runId: string, agent: string): void {
    if (this.#live.has(runId) && !this.#stopped) return;
    if (this.#loading.has(runId)) this.#again.add(runId);
    else this.#ready.add(runId, agent);
    this.#fill();
  }

  wakeAt(wake: Wake): void {
    this.#heap.add(wake);
    this.#arm();
  }

  /** A run that was made just now, with nothing to be read for it. Undefined if there is no room: then it is loaded later. */
  takeNew(runId: string, agent: string, make: () => Execution): void {
    if (this.hasRoom) this.#begin(make());
    else this.wake(runId, agent);
  }

  /** The run needs no memory any more. */
  forget(runId: string): void {
    this.#live.delete(runId);
    this.#waiting.delete(runId);
    this.#heap.remove(runId);
    if (this.#waiting.size === 0 && this.#heap.next === null) this.#disarm();
    this.#fill();
  }

  /** The run does nothing but wait. */
  noteWaiting(runId: string): void {
    this.#waiting.delete(runId);
    this.#waiting.set(runId, this.#options.clock.now());
    if (this.#ready.size > 0) this.#fill();
    else this.#arm();
  }

  async stop(graceMs: number): Promise<void> {
    this.#stopped = true;
    this.#cancelTimer?.();
    await Promise.all([...this.#live.values()].map((execution) => execution.stop(graceMs)));
  }

  #fits(): boolean {
    return this.#live.size + this.#loading.size < this.#options.maxLive;
  }

  #fill(): void {
    while (!this.#stopped && this.#ready.size > 0 && (this.#fits() || this.#parkLongest())) {
      const runId = this.#ready.take();
      if (runId !== undefined && !this.#live.has(runId) && !this.#loading.has(runId)) void this.#load(runId);
    }
  }

  async #load(runId: string): Promise<void> {
    this.#loading.add(runId);
    try {
      const began = await this.#options.load(runId, (execution) => this.#beginLoaded(execution));
      // It stays among those that something is to be done for.
      if (this.#stopped) return;
      this.#loading.delete(runId);
      const again = this.#again.delete(runId);
      if (!began && again) return void this.#load(runId);
      this.#fill();
    } catch (error) {
      if (this.#stopped) return;
      this.#loading.delete(runId);
      this.#options.onTrouble(error);
    }
  }

  #beginLoaded(execution: Execution): boolean {
    if (this.#stopped) return false;
    this.#loading.delete(execution.run.id);
    this.#begin(execution);
    return true;
  }

  #begin(execution: Execution): void {
    this.#heap.remove(execution.run.id);
    this.#live.set(execution.run.id, execution);
    execution.start().catch(this.#options.onTrouble);
  }

  /** Makes room by parking the run that has waited longest; false if none only waits. */
  #parkLongest(): boolean {
    for (const runId of this.#waiting.keys()) if (this.#park(runId)) return true;
    return false;
  }

  #park(runId: string): boolean {
    const execution = this.#live.get(runId);
    // What is due at once would be loaded again at once.
    if (execution?.onlyWaits !== true || (execution.wakeAt ?? Infinity) <= this.#options.clock.now())
      return false;
    this.#waiting.delete(runId);
    execution.close();
    this.#live.delete(runId);
    if (execution.wakeAt !== null) this.wakeAt({ at: execution.wakeAt, runId, agent: execution.run.agent });
    return true;
  }

  #parkIdle(now: number): void {
    for (const [runId, since] of this.#waiting) {
      if (now - since < this.#options.parkAfterMs) return;
      // One that does something after all is noted again when it waits.
      if (!this.#park(runId)) this.#waiting.delete(runId);
    }
  }

  /** One timer, for what is next: a run that is due, or one that has waited long enough to be parked. */
  #arm(): void {
    const [longest] = this.#waiting.values();
    const parkAt = longest === undefined ? Infinity : longest + this.#options.parkAfterMs;
    const at = Math.min(this.#heap.next ?? Infinity, parkAt);
    if (this.#stopped || at >= this.#timerAt) return;
    this.#cancelTimer?.();
    this.#timerAt = at;
    this.#cancelTimer = this.#options.clock.setTimer(at, () => this.#onTimer());
  }

  #disarm(): void {
    this.#cancelTimer?.();
    this.#timerAt = Infinity;
  }

  #onTimer(): void {
    this.#timerAt = Infinity;
    const now = this.#options.clock.now();
    for (let due = this.#heap.takeDue(now); due !== undefined; due = this.#heap.takeDue(now))
      this.wake(due.runId, due.agent);
    this.#parkIdle(now);
    this.#arm();
  }
}
