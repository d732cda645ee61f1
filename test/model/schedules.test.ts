import { expect, test } from "vitest";
import { firstSeed, seeds } from "./seeds.ts";
import { play } from "./world.ts";

test(
  `nothing acknowledged is lost, and no two histories are, in ${seeds} schedules, from seed ${firstSeed} on`,
  { timeout: 120_000 + seeds * 500 },
  async () => {
    const sum = { acknowledged: 0, epochs: 0, fenced: 0 };
    const startedAt = performance.now();
    for (let seed = firstSeed; seed < firstSeed + seeds; seed += 1) {
      const { violation, trace, counts } = await play({ seed });
      if (violation !== null) throw new Error(story(seed, violation.message, trace));
      sum.acknowledged += counts.acknowledged;
      sum.epochs += counts.epochs;
      sum.fenced += counts.fenced;
    }
    const minutes = (performance.now() - startedAt) / 60_000;
    const told = `${sum.acknowledged} acknowledgements, ${sum.epochs} epochs, ${sum.fenced} hosts fenced`;
    console.log(`${seeds} schedules, ${told}, ${Math.round(seeds / minutes)} schedules a minute`);
    // A model in which nothing happens would find nothing.
    expect(sum.acknowledged).toBeGreaterThan(seeds);
    expect(sum.fenced).toBeGreaterThan(seeds / 10);
  },
);

test("a seed plays the same schedule again", { timeout: 120_000 }, async () => {
  for (let seed = firstSeed; seed < firstSeed + 10; seed += 1) {
    const first = await play({ seed });
    const second = await play({ seed });
    expect(second.trace, `seed ${seed}`).toEqual(first.trace);
  }
});

/** What is printed of a schedule that went wrong: what happened, and how to see it again. */
function story(seed: number, message: string, trace: readonly string[]): string {
  return `${message}\nPlay it again by MODEL_SEED=${seed} MODEL_SEEDS=1. What happened:\n${trace.slice(-600).join("\n")}`;
}
