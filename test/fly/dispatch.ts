import { setTimeout as sleep } from "node:timers/promises";
import type { MachineState } from "./machine.ts";
import type { Sent } from "./machine-request.ts";
import { placeRequest, type Candidate, type PlacementRules, type Wanted } from "./placement.ts";
import type { ReplayFailure } from "./replay-header.ts";

/** What the proxy needs of a Machine. */
export interface ProxiedMachine {
  readonly id: string;
  readonly region: string;
  readonly url: string;
  readonly state: MachineState;
  /** On the clock of `performance.now()`; null while it is started, or if it never was. */
  readonly leftStartedAt: number | null;
  start(): Promise<void>;
}

export interface DispatchOptions {
  /** Looked at anew for each request. */
  readonly machines: readonly ProxiedMachine[];
  /** Fly's own default is on. */
  readonly autoStart?: boolean;
  /** Fly's own default is 20. */
  readonly softLimit?: number;
  /** Fly's own default is none. */
  readonly hardLimit?: number;
  /** By default a region is next to itself, and all others are equally far. */
  readonly distance?: (edge: string, region: string) => number;
  /** For so long a Machine that has left `started` still gets requests, as states reach Fly's proxies late (error PM11). */
  readonly stateLagMs?: number;
  /** Fly tries 90 times (errors PR03, PR04); over what time is not documented. */
  readonly retries?: number;
  readonly retryEveryMs?: number;
  /** How long a request waits for a Machine below its hard limit. Fly says only that 503 follows "a long period". */
  readonly queueMs?: number;
}

export interface Errand {
  /** The region of the edge that took the request. */
  readonly edge: string;
  readonly wanted: Wanted;
  /** On the clock of `performance.now()`; Infinity for as long as the tries last. */
  readonly until: number;
  /** The client has left. */
  readonly signal: AbortSignal;
  readonly send: (machine: ProxiedMachine) => Promise<Sent>;
}

export type Reached =
  /** A connection was made; the Machine counts the request until it is released. */
  | {
      readonly kind: "sent";
      readonly machine: ProxiedMachine;
      readonly sent: Exclude<Sent, { kind: "refused" }>;
      readonly release: () => void;
    }
  | { readonly kind: "failed"; readonly reason: ReplayFailure | "full" };

const queuePauseMs = 10;

/** Gets a request to some Machine that may have it, starting one and trying again as Fly's proxy does. */
export class Dispatcher {
  readonly #options: DispatchOptions;
  readonly #loads = new Map<string, number>();

  constructor(options: DispatchOptions) {
    this.#options = options;
  }

  /**
   * As soon as a connection is made the Machine has the request, and nothing is tried again (the announcement of replay
   * fallbacks says so of replays; what is said of other requests is less). Never rejects.
   */
  async reach(errand: Errand): Promise<Reached> {
    const { retries = 90, retryEveryMs = 250, queueMs = 5_000 } = this.#options;
    const refused = new Set<string>();
    let { wanted } = errand;
    let reason: ReplayFailure = "no_candidate";
    let queuedMs = 0;
    for (let tries = 0; tries < retries && !errand.signal.aborted;) {
      if (performance.now() > errand.until) return { kind: "failed", reason: "timeout" };
      const placement = this.#place(errand.edge, wanted, refused);
      if (placement.kind === "full") {
        if (queuedMs >= queueMs) return { kind: "failed", reason: "full" };
        queuedMs += queuePauseMs;
        await sleep(queuePauseMs);
        continue;
      }
      tries += 1;
      if (placement.kind === "none") {
        refused.clear();
        await sleep(retryEveryMs);
        continue;
      }
      reason = "retries_exhausted";
      const machine = this.machine(placement.id);
      if (machine === undefined) continue;
      if (placement.kind === "start") {
        // The Machine that was started gets the request, documents say, so no other one is looked for.
        wanted = { instance: machine.id };
        await machine.start().catch(() => sleep(retryEveryMs));
        continue;
      }
      const release = this.#occupy(machine);
      const sent = await errand.send(machine);
      if (sent.kind !== "refused") return { kind: "sent", machine, sent, release };
      release();
      refused.add(machine.id);
    }
    return { kind: "failed", reason };
  }

  machine(id: string): ProxiedMachine | undefined {
    return this.#options.machines.find((machine) => machine.id === id);
  }

  /** Whether the proxy takes it for started. */
  seesRunning(machine: ProxiedMachine): boolean {
    return this.#stateOf(machine) === "started";
  }

  /**
   * Machines that have refused are passed over while another one runs; once all have, they are tried again. Nothing says
   * that a refusal makes Fly start another Machine, so it does not here.
   */
  #place(edge: string, wanted: Wanted, refused: ReadonlySet<string>): ReturnType<typeof placeRequest> {
    const { autoStart = true, softLimit = 20, hardLimit = Infinity } = this.#options;
    const { distance = (from: string, to: string) => (from === to ? 0 : 1) } = this.#options;
    const rules: PlacementRules = {
      autoStart,
      softLimit,
      hardLimit,
      distance: (region) => distance(edge, region),
      random: Math.random,
    };
    const candidates = this.#options.machines.map((machine) => this.#candidate(machine));
    const placement = placeRequest(candidates, wanted, rules);
    if (placement.kind !== "machine" || refused.size === 0) return placement;
    const others = candidates.filter(({ id }) => !refused.has(id));
    const another = placeRequest(others, wanted, { ...rules, autoStart: false });
    return another.kind === "machine" ? another : { kind: "none" };
  }

  #candidate(machine: ProxiedMachine): Candidate {
    const { id, region } = machine;
    return { id, region, state: this.#stateOf(machine), load: this.#loads.get(id) ?? 0 };
  }

  #stateOf({ state, leftStartedAt }: ProxiedMachine): MachineState {
    const sinceMs = leftStartedAt === null ? Infinity : performance.now() - leftStartedAt;
    return sinceMs < (this.#options.stateLagMs ?? 0) ? "started" : state;
  }

  #occupy({ id }: ProxiedMachine): () => void {
    const change = (by: number): void => void this.#loads.set(id, (this.#loads.get(id) ?? 0) + by);
    change(1);
    let isReleased = false;
    return () => {
      if (!isReleased) change(-1);
      isReleased = true;
    };
  }
}
