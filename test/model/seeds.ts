import type { Broken } from "./broken.ts";
import type { Violation } from "./witness.ts";
import { play } from "./world.ts";

const asked = process.env["MODEL_SEEDS"];

/** How many schedules are played, and from which seed on. */
export const firstSeed = Number(process.env["MODEL_SEED"] ?? 1);
export const seeds = Number(asked ?? 300);
/** Whether the search for a broken rule begins where one was found before, which is a shortcut and no more. */
export const inHaste = asked === undefined;

/** The first of `count` seeds, from one on, whose schedule shows that the rule is broken; null if none does. */
export async function seedThatFinds(
  broken: Broken,
  { from, count }: { readonly from: number; readonly count: number },
): Promise<{ readonly seed: number; readonly violation: Violation } | null> {
  for (let seed = from; seed < from + count; seed += 1) {
    const { violation } = await play({ seed, broken });
    if (violation !== null) return { seed, violation };
  }
  return null;
}
