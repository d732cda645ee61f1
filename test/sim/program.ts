import type { Random } from "../crash/drill/random.ts";

/** What a random agent does. Names come from few, so that the same ones meet in branches and repetitions. */
export type Op =
  | {
      readonly op: "step";
      readonly name: string;
      readonly ms: number;
      readonly failures: number;
      readonly timeoutMs: number | null;
    }
  | { readonly op: "tx"; readonly name: string; readonly failures: number }
  | { readonly op: "sleep"; readonly name: string; readonly ms: number }
  | {
      readonly op: "signal";
      readonly name: string;
      readonly signal: string;
      readonly timeoutMs: number | null;
    }
  | { readonly op: "invoke" | "start"; readonly name: string; readonly agent: number }
  | { readonly op: "now" }
  | { readonly op: "uuid" }
  | { readonly op: "random" }
  | { readonly op: "state" }
  | { readonly op: "throw" }
  | { readonly op: "all" | "settled" | "race"; readonly branches: readonly (readonly Op[])[] }
  | {
      readonly op: "map";
      readonly name: string;
      readonly items: number;
      readonly concurrency: number;
      readonly body: readonly Op[];
    }
  | { readonly op: "loop"; readonly times: number; readonly body: readonly Op[] }
  | { readonly op: "catch"; readonly body: readonly Op[] }
  | { readonly op: "finally"; readonly body: readonly Op[]; readonly after: readonly Op[] };

export interface Program {
  readonly ops: readonly Op[];
  /** Of the whole run. */
  readonly timeoutMs: number | null;
  /** What is done in a run of its own when a run has failed. */
  readonly onFailure: readonly Op[] | null;
}

/** Steps are tried so often, a second apart. */
export const maxAttempts = 3;
const maxDepth = 2;

/**
 * Agents of one world; each may call those behind it. A program that is `steady` gives the same output whenever what it
 * calls is called: it races nothing, fails by nothing and waits for nothing that may come too late. One that is `failing`
 * has many steps that fail beside others.
 */
export function programs(
  random: Random,
  count: number,
  { steady, failing }: { readonly steady: boolean; readonly failing: boolean },
): readonly Program[] {
  return Array.from({ length: count }, (_none, index) => {
    const some = new Programs(random, { steady, failing, firstCallee: index + 1, agents: count });
    const timeoutMs = !steady && random.chance(0.15) ? random.pick([5, 1_000, 4_000, 20_000]) : null;
    const ops = some.list(0);
    return { ops, timeoutMs, onFailure: !steady && random.chance(0.3) ? some.list(0) : null };
  });
}

interface Kind {
  readonly steady: boolean;
  readonly failing: boolean;
  readonly firstCallee: number;
  readonly agents: number;
}

class Programs {
  readonly #random: Random;
  readonly #steady: boolean;
  readonly #failing: boolean;
  readonly #firstCallee: number;
  readonly #agents: number;

  constructor(random: Random, { steady, failing, firstCallee, agents }: Kind) {
    this.#random = random;
    this.#steady = steady;
    this.#failing = failing;
    this.#firstCallee = firstCallee;
    this.#agents = agents;
  }

  list(depth: number): readonly Op[] {
    const length = this.#random.between(1, depth === 0 ? 4 : 2);
    return Array.from({ length }, () => this.#one(depth));
  }

  #one(depth: number): Op {
    const random = this.#random;
    if (depth >= maxDepth || random.chance(this.#failing ? 0.4 : 0.65)) return this.#leaf();
    const kinds = ["all", "settled", "map", "race", "loop", "catch", "catch"] as const;
    const kind =
      this.#failing && random.chance(0.6) ? random.pick(["settled", "finally"]) : random.pick(kinds);
    switch (kind) {
      case "map": {
        const items = random.between(1, 3);
        return {
          op: kind,
          name: random.pick(["m", "n"]),
          items,
          concurrency: random.between(1, 3),
          body: this.list(depth + 1),
        };
      }
      case "loop":
        return { op: kind, times: random.between(1, 2), body: this.list(depth + 1) };
      case "catch":
        return { op: kind, body: this.list(depth + 1) };
      case "finally":
        return { op: kind, body: this.list(depth + 1), after: this.list(depth + 1) };
      case "all":
      case "settled":
      case "race": {
        const op = this.#steady ? "all" : kind;
        return {
          op,
          branches: Array.from({ length: random.between(1, 3) }, () => this.list(depth + 1)),
        };
      }
      default:
        return kind satisfies never;
    }
  }

  #leaf(): Op {
    const random = this.#random;
    const ms = random.pick([0, 0, 1, 5, 5, 10, 1_000, 7_000]);
    const kinds = [
      "step",
      "step",
      "step",
      "tx",
      "sleep",
      "signal",
      "invoke",
      "start",
      "value",
      "throw",
    ] as const;
    const kind = this.#failing && random.chance(0.6) ? "step" : random.pick(kinds);
    switch (kind) {
      case "step": {
        const failures = random.pick([
          0,
          0,
          this.#failing ? maxAttempts : 0,
          1,
          this.#steady ? 1 : maxAttempts,
        ]);
        const timeoutMs = !this.#steady && random.chance(0.15) ? 5 : null;
        return { op: kind, name: random.pick(["a", "b"]), ms, failures, timeoutMs };
      }
      case "tx":
        return {
          op: kind,
          name: random.pick(["t", "u"]),
          failures: this.#steady ? 0 : random.pick([0, 0, 1]),
        };
      case "sleep":
        return { op: kind, name: random.pick(["d", "e"]), ms };
      case "signal": {
        const timeoutMs = this.#steady || random.chance(0.4) ? null : ms;
        return { op: kind, name: random.pick(["f", "g"]), signal: random.pick(["x", "y"]), timeoutMs };
      }
      case "invoke":
      case "start":
        if (this.#firstCallee >= this.#agents) return { op: "uuid" };
        return {
          op: kind,
          name: random.pick(["c", "k"]),
          agent: random.between(this.#firstCallee, this.#agents - 1),
        };
      case "value":
        return { op: random.pick(["now", "uuid", "random", "state"]) };
      case "throw":
        return !this.#steady && random.chance(0.3) ? { op: "throw" } : { op: "state" };
      default:
        return kind satisfies never;
    }
  }
}
