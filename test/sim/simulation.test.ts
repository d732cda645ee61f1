import { expect, test } from "vitest";
import { firstSeed, playAlone, seeds } from "./seeds.ts";

test(
  `the engine keeps its promises in ${seeds} worlds, from seed ${firstSeed} on`,
  { timeout: 120_000 + seeds * 50 },
  async () => {
    let crashes = 0;
    const startedAt = performance.now();
    for (let seed = firstSeed; seed < firstSeed + seeds; seed += 1) {
      const world = await playAlone({ seed });
      crashes += world.crashes;
      if (world.violation !== null) throw new Error(story(seed, world.violation.message, world.trace));
      if (world.results === null) continue;
      const calm = await playAlone({ seed, calm: true });
      if (calm.violation !== null) throw new Error(story(seed, calm.violation.message, calm.trace));
      for (const [agent, results] of world.results) {
        const expected = calm.results?.get(agent) ?? results;
        expect([...results], `seed ${seed}: ${agent} gives what it gives without crashes`).toEqual([
          ...expected,
        ]);
      }
    }
    const minutes = (performance.now() - startedAt) / 60_000;
    console.log(`${seeds} worlds, ${crashes} crashes, ${Math.round(seeds / minutes)} worlds a minute`);
  },
);

test("a seed plays the same world again", { timeout: 120_000 }, async () => {
  for (let seed = firstSeed; seed < firstSeed + 50; seed += 1) {
    const first = await playAlone({ seed });
    const second = await playAlone({ seed });
    expect(second.trace, `seed ${seed}`).toEqual(first.trace);
  }
});

/** What is printed of a world that went wrong: enough to see why, and how to see it again. */
function story(seed: number, message: string, trace: readonly string[]): string {
  return `${message}\nPlay it again by SIM_SEED=${seed} SIM_SEEDS=1. What happened:\n${trace.slice(-400).join("\n")}`;
}
