import { Random } from "../crash/drill/random.ts";

/** A process: it does nothing while it is paused, and never again once it is dead. */
export class Actor {
  readonly name: string;
  alive = true;
  paused = false;

  constructor(name: string) {
    this.name = name;
  }

  get runs(): boolean {
    return this.alive && !this.paused;
  }
}

/** Something that can happen next; `actor` is whose code goes on by it, null for the world outside of any process. */
export interface Step {
  readonly actor: Actor | null;
  readonly what: string;
  readonly run: () => void;
  /** Not before this is true; always, if it is not given. */
  readonly ready?: () => boolean;
}

const setImmediateOfNode = globalThis.setImmediate;
const setTimeoutOfNode = globalThis.setTimeout;
const clearTimeoutOfNode = globalThis.clearTimeout;
const randomOfNode = Math.random;
/** Code that waits until nothing new has come takes turns of its own from Node: it is given so many after each step. */
const turnsAfterStep = 5;

/** So often the step that has waited longest is taken, else any. */
const inOrder = 0.4;

/**
 * All that waits to happen, in every process and between them. One step is taken at a time, chosen by chance, and whatever
 * code can do after it is done before the next: so the seed decides every order.
 */
export class Schedule {
  readonly trace: string[] = [];
  /** Milliseconds that no process can see. */
  now = 0;
  taken = 0;
  /** Whose code is going on. */
  #current: Actor | null = null;
  #steps: Step[] = [];
  readonly #random: Random;

  constructor(random: Random) {
    this.#random = random;
  }

  /**
   * From now on `setImmediate` and `setTimeout` are steps of the process that calls them, and `Math.random` gives the same
   * in every schedule; the returned function undoes that.
   */
  install(): () => void {
    const later = (work: (...args: unknown[]) => void, ...args: unknown[]): void =>
      this.add({ actor: this.#current, what: "turn", run: () => work(...args) });
    const timeout = (work: () => void, ms: number): { cancelled: boolean } => {
      const timer = { cancelled: false };
      const at = this.now + ms;
      const run = (): void => {
        if (!timer.cancelled) work();
      };
      this.add({ actor: this.#current, what: "timer", run, ready: () => timer.cancelled || this.now >= at });
      return timer;
    };
    globalThis.setImmediate = later as unknown as typeof setImmediate;
    globalThis.setTimeout = timeout as unknown as typeof setTimeout;
    globalThis.clearTimeout = ((timer: { cancelled: boolean }) =>
      void (timer.cancelled = true)) as unknown as typeof clearTimeout;
    const chance = new Random(1);
    Math.random = () => chance.next();
    return () => {
      Math.random = randomOfNode;
      globalThis.setImmediate = setImmediateOfNode;
      globalThis.setTimeout = setTimeoutOfNode;
      globalThis.clearTimeout = clearTimeoutOfNode;
    };
  }

  add(step: Step): void {
    this.#steps.push(step);
  }

  /** Resolves when chance lets the process go on; never, if it ends before. */
  step(actor: Actor, what: string): Promise<void> {
    return new Promise((resolve) => {
      this.add({ actor, what, run: resolve });
    });
  }

  /** Lets one step happen; false if none can. */
  async take(): Promise<boolean> {
    this.now += 1;
    const ready = this.#readySteps();
    const step = ready[this.#random.chance(inOrder) ? 0 : Math.floor(this.#random.next() * ready.length)];
    if (step === undefined) return false;
    this.#steps.splice(this.#steps.indexOf(step), 1);
    await this.act(step.actor, step.what, step.run);
    return true;
  }

  /** Runs what is given as the process's own, and all that can go on after it. */
  async act(actor: Actor | null, what: string, run: () => void): Promise<void> {
    this.taken += 1;
    this.note(`${actor?.name ?? "-"}: ${what}`);
    this.#current = actor;
    run();
    for (let turn = 0; turn < turnsAfterStep; turn += 1)
      await new Promise<void>((resolve) => void setImmediateOfNode(resolve));
    this.#current = null;
  }

  /** In the order in which they began to wait; those of dead processes are forgotten. */
  #readySteps(): readonly Step[] {
    const ready: Step[] = [];
    let left = 0;
    for (const step of this.#steps) {
      const { actor } = step;
      if (actor !== null && !actor.alive) continue;
      this.#steps[left] = step;
      left += 1;
      if (actor?.paused !== true && (step.ready === undefined || step.ready())) ready.push(step);
    }
    this.#steps.length = left;
    return ready;
  }

  note(line: string): void {
    this.trace.push(`${this.now} ${line}`);
  }
}
