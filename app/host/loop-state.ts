import { AsyncLocalStorage } from "node:async_hooks";
import type { Guard, GuardedRun } from "../engine/guard.ts";

/** The run whose code has the event loop, and its last row of history. */
export interface LoopHolder {
  readonly tenant: string;
  readonly run: string;
  readonly agent: string;
  readonly seq: number;
}

/** The main thread shows so often that it gets on. */
export const beatEveryMs = 250;

/** Names that are longer are cut. */
const maxNameBytes = 1_024;
const separator = "\n";
/** Places in the shared memory, in numbers of 32 bits. */
const place = { beats: 0, debugged: 1, seq: 2, nameBytes: 3, reported: 4 } as const;
const headBytes = 32;
const encoder = new TextEncoder();

/** Which run the code that is running now belongs to; it follows promises, timers and callbacks. */
const running = new AsyncLocalStorage<{ readonly tenantId: string; readonly guarded: GuardedRun }>();

/**
 * By this name a debugger that has stopped the main thread asks it for `runningNow()` as JSON: the main thread cannot be
 * asked in any other way while it is stuck.
 */
export const runningNowKey = "holdfast.runningNow";

/** Exact, but only the main thread itself can tell. Null: it is no agent's code. */
export function runningNow(): LoopHolder | null {
  const now = running.getStore();
  if (now === undefined) return null;
  const { id, agent } = now.guarded.run;
  return { tenant: now.tenantId, run: id, agent, seq: now.guarded.lastSeq };
}

/** What the main thread lets its watchdog know all the time, in memory that both see. */
export class LoopState {
  readonly memory: SharedArrayBuffer;
  readonly #numbers: Int32Array<SharedArrayBuffer>;
  readonly #name: Uint8Array<SharedArrayBuffer>;

  constructor(memory = new SharedArrayBuffer(headBytes + maxNameBytes)) {
    this.memory = memory;
    this.#numbers = new Int32Array(memory, 0, headBytes / 4);
    this.#name = new Uint8Array(memory, headBytes);
  }

  get beats(): number {
    return Atomics.load(this.#numbers, place.beats);
  }

  /** Whether a person has a debugger on the main thread, which then may stand still. */
  get debugged(): boolean {
    return Atomics.load(this.#numbers, place.debugged) === 1;
  }

  /** Who was given the loop last: one that is stuck outside of JavaScript cannot be asked for more. */
  get lastEntered(): LoopHolder | null {
    const bytes = this.#name.slice(0, this.#numbers[place.nameBytes]);
    const [tenant = "", run, agent = ""] = new TextDecoder().decode(bytes).split(separator);
    return run === undefined ? null : { tenant, run, agent, seq: this.#numbers[place.seq] ?? 0 };
  }

  beat(debugged: boolean): void {
    Atomics.store(this.#numbers, place.debugged, debugged ? 1 : 0);
    Atomics.add(this.#numbers, place.beats, 1);
  }

  enter(name: Uint8Array | null, seq: number): void {
    // Nobody reads while this thread gets on, so nothing here needs to be atomic.
    this.#numbers[place.seq] = seq;
    if (name === null) return;
    this.#numbers[place.nameBytes] = name.byteLength;
    this.#name.set(name);
  }

  /** Blocks this thread until the other one has called `markReported`, or `timeoutMs` have passed. */
  awaitReported(timeoutMs: number): void {
    Atomics.wait(this.#numbers, place.reported, 0, timeoutMs);
  }

  markReported(): void {
    Atomics.store(this.#numbers, place.reported, 1);
    Atomics.notify(this.#numbers, place.reported);
  }
}

/** Tells the watchdog of the runs of all tenants of this process. */
export class LoopGuard {
  readonly #state: LoopState;
  #last: GuardedRun | null = null;
  readonly #names = new WeakMap<GuardedRun, Uint8Array>();

  constructor(state: LoopState) {
    this.#state = state;
  }

  of(tenantId: string): Guard {
    return {
      begin: (guarded, call) => {
        this.#names.set(guarded, encodeName(tenantId, guarded));
        this.#enter(guarded);
        return running.run({ tenantId, guarded }, call);
      },
      enter: (guarded) => this.#enter(guarded),
    };
  }

  #enter(guarded: GuardedRun): void {
    const name = guarded === this.#last ? null : this.#names.get(guarded);
    this.#last = guarded;
    this.#state.enter(name ?? null, guarded.lastSeq);
  }
}

function encodeName(tenantId: string, { run }: GuardedRun): Uint8Array {
  const name = encoder.encode([tenantId, run.id, run.agent].join(separator));
  return name.subarray(0, maxNameBytes);
}
