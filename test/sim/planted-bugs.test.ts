import { expect, test } from "vitest";
import { plantedBugs } from "./planted-bugs.ts";
import { seedThatFinds } from "./seeds.ts";

const maxSeeds = 1_000;

for (const [bug, planted] of Object.entries(plantedBugs))
  test(`the simulation finds ${bug}`, { timeout: 120_000 }, async () => {
    const found = await seedThatFinds(planted, maxSeeds);
    expect(found, `${maxSeeds} seeds have not found it`).not.toBeNull();
    if (found !== null) console.log(`${bug}: seed ${found.seed}: ${found.violation.message.slice(0, 160)}`);
  });
