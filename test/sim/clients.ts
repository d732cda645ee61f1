import { EngineError } from "../../app/engine/errors.ts";
import type { Durability } from "../../app/engine/journal.ts";
import type { Random } from "../crash/drill/random.ts";
import type { MemoryFile } from "../fakes/memory-file.ts";
import type { Life } from "./life.ts";
import { Violation, type Witness } from "./witness.ts";

export interface ClientsOptions {
  readonly random: Random;
  readonly file: MemoryFile;
  readonly witness: Witness;
  readonly agents: number;
  readonly durability: Durability;
  readonly trace: (line: string) => void;
  /** The process that answers now; null if none does. */
  readonly answering: () => Life | null;
}

type Control = "cancel" | "pause" | "resume" | "retry" | "fork" | "remove";

/** Those outside who ask something of a tenant's runs, and tell the witness what they were promised. */
export class Clients {
  readonly #options: ClientsOptions;
  /** Runs that requests have started, by the request's key. */
  readonly #started = new Map<string, string>();
  /** How a client repeats its request, by the request's key. */
  readonly #asked = new Map<string, () => void>();
  #requests = 0;

  constructor(options: ClientsOptions) {
    this.#options = options;
  }

  start(): void {
    const { random, agents, durability, witness } = this.#options;
    const key = `key${String(++this.#requests).padStart(4, "0")}`;
    const agent = `agent${random.between(0, agents - 1)}`;
    const delay = random.chance(0.2) ? { delayMs: 1_000 } : {};
    const request = (): void =>
      this.#request(`start ${agent} ${key}`, async ({ engine, journal }) => {
        const { run } = await engine.start({ agent, input: null, idempotencyKey: key, durability, ...delay });
        await journal.durable();
        this.#started.set(key, run.id);
        witness.acknowledgedRun(run.id);
      });
    this.#asked.set(key, request);
    request();
  }

  /** Clients whose request was not answered repeat it; false if there is none. */
  repeat(): boolean {
    const unanswered = [...this.#asked].filter(([key]) => !this.#started.has(key));
    for (const [, request] of unanswered) request();
    return unanswered.length > 0;
  }

  signal(name: string, twice: boolean): void {
    const runId = this.#someRun();
    if (runId === undefined) return;
    const number = ++this.#requests;
    for (let time = 0; time < (twice ? 2 : 1); time += 1) this.#send(runId, name, number);
  }

  sendSignal(runId: string, name: string): void {
    this.#send(runId, name, ++this.#requests);
  }

  resume(runId: string): void {
    this.#request(`resume ${runId}`, async ({ engine }) => void (await engine.resume(runId)));
  }

  control(): void {
    const { random } = this.#options;
    const runId = this.#someRun();
    if (runId === undefined) return;
    const calls = [
      "cancel",
      "pause",
      "pause",
      "resume",
      "resume",
      "retry",
      "retry",
      "fork",
      "remove",
    ] as const;
    this.#control(random.pick(calls), runId);
  }

  #control(call: Control, runId: string): void {
    this.#request(`${call} ${runId}`, async ({ engine }) => {
      if (call === "retry") this.#options.witness.changed.add(runId);
      await engine[call](runId);
    });
  }

  retryFailed(): void {
    for (const { id, status } of this.#options.file.state.runs.values())
      if (status === "failed") this.#control("retry", id);
  }

  #send(runId: string, name: string, number: number): void {
    this.#request(`signal ${name} ${number} to ${runId}`, async ({ engine, journal }) => {
      const request = { name, payload: { number }, idempotencyKey: `signal${number}` };
      const { id } = await engine.signal(runId, request);
      await journal.durable();
      this.#options.witness.acknowledgedSignal(id, runId);
    });
  }

  #someRun(): string | undefined {
    const ids = [...this.#options.file.state.runs.keys()];
    return ids.length === 0 ? undefined : ids[this.#options.random.between(0, ids.length - 1)];
  }

  #request(what: string, work: (life: Life) => Promise<void>): void {
    const life = this.#options.answering();
    if (life === null) return;
    this.#options.trace(what);
    work(life).catch((error: unknown) => {
      // Refused, or the store or the disk did not take it.
      if (!(error instanceof EngineError) && !/disk is full|cannot be reached/.test(String(error)))
        life.violated(new Violation(`${what}: ${String(error)}`));
    });
  }
}
