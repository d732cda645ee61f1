import type { Planted } from "./life.ts";
import { Turns } from "./turns.ts";
import type { Violation } from "./witness.ts";
import { play, type Outcome, type WorldOptions } from "./world.ts";

/** How many worlds are played, and from which seed on. */
export const firstSeed = Number(process.env["SIM_SEED"] ?? 1);
export const seeds = Number(process.env["SIM_SEEDS"] ?? 2_500);

/** The world of the seed, on turns of its own. */
export async function playAlone(options: WorldOptions): Promise<Outcome> {
  const turns = new Turns();
  const undo = turns.install();
  try {
    return await play(turns, options);
  } finally {
    undo();
  }
}

/** The first seed in whose world the planted bug shows; null if none of `count` does. */
export async function seedThatFinds(
  planted: Planted,
  count: number,
): Promise<{ readonly seed: number; readonly violation: Violation } | null> {
  for (let seed = 1; seed <= count; seed += 1) {
    const { violation } = await playAlone({ seed, planted });
    if (violation !== null) return { seed, violation };
  }
  return null;
}
