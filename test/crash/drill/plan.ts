import type { RunJson } from "../../../app/http/run-json.ts";
import type { Random } from "./random.ts";

/** One tenant has few users, so that it is let go and claimed again while the others are busy. */
export const tenants = ["amber", "birch", "cedar", "quiet"] as const;
export type TenantId = (typeof tenants)[number];

/** A run that a client means to start: everything about it that must be the same in a repetition. */
export interface Plan {
  readonly tenant: TenantId;
  readonly agent: "chain" | "nap" | "approval" | "flaky" | "fan";
  readonly key: string;
  readonly input: { readonly token: string; readonly ms: number } & Readonly<Record<string, string | number>>;
}

export function makePlan(random: Random, token: string): Plan {
  const tenant = random.chance(0.04) ? "quiet" : random.pick(["amber", "birch", "cedar"]);
  const agent = random.pick(["chain", "chain", "chain", "nap", "approval", "approval", "flaky", "fan"]);
  const common = { token, ms: random.between(1, 12) };
  const input = { ...common, ...inputOf(agent, random) };
  return { tenant, agent, key: `key-${token}`, input };
}

function inputOf(agent: Plan["agent"], random: Random): Readonly<Record<string, number>> {
  switch (agent) {
    case "chain":
      return { steps: random.between(2, 8) };
    case "nap":
      return { napMs: random.between(5, 120) };
    case "fan":
      return { width: random.between(2, 6) };
    case "approval":
    case "flaky":
      return {};
    default:
      return agent satisfies never;
  }
}

/** Who approves: different from run to run, so that a signal that reached another run shows. */
export function approver({ input }: Plan): string {
  return `approver-of-${input.token}`;
}

/** What is wrong with how the run has ended; null if nothing is. */
export function wrongEnd(plan: Plan, run: Pick<RunJson, "status" | "output" | "error">): string | null {
  if (run.status !== "completed") return `it is ${run.status}: ${JSON.stringify(run.error)}`;
  const { token } = plan.input;
  const steps = stepsOf(plan).map((step) => `${token}:${step}:`);
  const expected = plan.agent === "approval" ? [...steps, `${token}:by:${approver(plan)}`] : steps;
  const output: readonly unknown[] = Array.isArray(run.output) ? run.output : [];
  const right =
    output.length === expected.length &&
    expected.every((start, index) => String(output[index]).startsWith(start));
  return right ? null : `its output is ${JSON.stringify(run.output)}, expected ${JSON.stringify(expected)}`;
}

function stepsOf({ agent, input }: Plan): readonly string[] {
  const numbered = (prefix: string, count: unknown, from: number): readonly string[] =>
    Array.from({ length: Number(count) }, (_, index) => `${prefix}${index + from}`);
  switch (agent) {
    case "chain":
      return numbered("s", input["steps"], 1);
    case "nap":
      return ["before", "after"];
    case "approval":
      return ["ask", "act"];
    case "flaky":
      return ["try", "then"];
    case "fan":
      return ["split", ...numbered("part", input["width"], 0), "join"];
    default:
      return agent satisfies never;
  }
}
