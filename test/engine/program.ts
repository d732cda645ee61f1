import * as fc from "fast-check";
import type { RunContext, Step } from "../../app/engine/agent.ts";
import { StepError } from "../../app/engine/errors.ts";
import type { SetClock } from "../fakes/clock.ts";

/** A random agent. Names come from few, so that the same ones meet in branches and loops. */
export type Op =
  | { readonly op: "step"; readonly name: string; readonly ms: number; readonly failures: number }
  | { readonly op: "sleep"; readonly name: string; readonly ms: number }
  | { readonly op: "signal"; readonly name: string; readonly signal: string; readonly ms: number }
  | { readonly op: "all" | "race"; readonly branches: readonly (readonly Op[])[] }
  | { readonly op: "loop"; readonly times: number; readonly body: readonly Op[] }
  | { readonly op: "catch"; readonly body: readonly Op[] };

/** Steps are tried so often, a second apart. */
export const maxAttempts = 3;

const milliseconds = fc.constantFrom(0, 1, 5, 5, 10, 10, 20, 1_000);
const name = fc.constantFrom("a", "b", "c");

const leaf: fc.Arbitrary<Op> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      op: fc.constant("step" as const),
      name,
      ms: milliseconds,
      failures: fc.constantFrom(0, 0, 0, 1, maxAttempts),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      op: fc.constant("sleep" as const),
      name: fc.constantFrom("d", "e"),
      ms: milliseconds,
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      op: fc.constant("signal" as const),
      name: fc.constantFrom("f", "g"),
      signal: fc.constantFrom("x", "y"),
      ms: milliseconds,
    }),
  },
);

export const program: fc.Arbitrary<readonly Op[]> = fc.letrec<{ op: Op; ops: readonly Op[] }>((tie) => ({
  ops: fc.array(tie("op"), { minLength: 1, maxLength: 4, depthIdentifier: "program" }),
  op: fc.oneof(
    { depthIdentifier: "program", maxDepth: 3, withCrossShrink: true },
    { weight: 4, arbitrary: leaf },
    {
      weight: 2,
      arbitrary: fc.record({
        op: fc.constantFrom("all" as const, "race" as const),
        branches: fc.array(tie("ops"), { minLength: 1, maxLength: 4, depthIdentifier: "program" }),
      }),
    },
    {
      weight: 1,
      arbitrary: fc.record({
        op: fc.constant("loop" as const),
        times: fc.integer({ min: 1, max: 3 }),
        body: tie("ops"),
      }),
    },
    { weight: 1, arbitrary: fc.record({ op: fc.constant("catch" as const), body: tie("ops") }) },
  ),
})).ops;

/** What the world outside of the run sees and says. */
export interface World {
  readonly clock: SetClock;
  /** Called at the start of every attempt. */
  readonly onAttempt: (idempotencyKey: string, attempt: number) => void;
}

/** Runs the program; what it gives is all that its code saw, in the order in which it saw it. */
export async function interpret(
  ops: readonly Op[],
  { step }: RunContext<unknown>,
  world: World,
): Promise<unknown> {
  const seen: string[] = [];
  const run = async (list: readonly Op[], place: string): Promise<string> => {
    let last = "";
    for (const [index, op] of list.entries()) last = await one(op, `${place}.${index}`);
    return last;
  };
  const one = async (op: Op, place: string): Promise<string> => {
    switch (op.op) {
      case "all":
        return note(
          place,
          await Promise.all(op.branches.map((branch, index) => run(branch, `${place}/${index}`))),
        );
      case "race":
        return note(
          place,
          await Promise.race(op.branches.map((branch, index) => run(branch, `${place}/${index}`))),
        );
      case "loop": {
        let last = "";
        for (let round = 0; round < op.times; round += 1) last = await run(op.body, `${place}#${round}`);
        return last;
      }
      case "catch":
        try {
          return note(place, await run(op.body, place));
        } catch (error) {
          if (!(error instanceof StepError)) throw error;
          return note(place, `${error.message} / ${(error.cause as Error).message}`);
        }
      case "step":
      case "sleep":
      case "signal":
        return note(place, await call(op, step, world));
      default:
        return op satisfies never;
    }
  };
  const note = (place: string, value: unknown): string => {
    const line = `${place}=${JSON.stringify(value)}`;
    seen.push(line);
    return line;
  };
  // A branch that lost a race may fail when nobody looks any more.
  const result = run(ops, "").catch((error: unknown) => {
    if (!(error instanceof StepError)) throw error;
    return error.message;
  });
  return { result: await result, seen };
}

async function call(
  op: Exclude<Op, { op: "all" | "race" | "loop" | "catch" }>,
  step: Step,
  world: World,
): Promise<unknown> {
  switch (op.op) {
    case "step":
      return await step.run(op.name, async ({ attempt, idempotencyKey }) => {
        world.onAttempt(idempotencyKey, attempt);
        await world.clock.wait(op.ms);
        if (attempt <= op.failures) throw new Error(`attempt ${attempt} of ${op.name}`);
        return { name: op.name, attempt, at: world.clock.now() };
      });
    case "sleep":
      return (await step.sleep(op.name, op.ms)) ?? null;
    case "signal":
      return await step.waitForSignal(op.name, { signal: op.signal, timeout: op.ms });
    default:
      return op satisfies never;
  }
}
