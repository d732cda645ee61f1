import { expect, test } from "vitest";
import { brokenRules } from "./broken-rules.ts";
import { inHaste, seedThatFinds } from "./seeds.ts";

const maxSeeds = 4_000;

/** Rules that few schedules depend on: a seed shortly before the first that shows it. */
const startsAt: Readonly<Record<string, number>> = {
  "a proof under way is not joined": 1_270,
  "a proof is sent after the sync has answered": 420,
  "what has nothing to ship is proved all the same": 460,
  "a sync under way is not joined by a later commit": 475,
  "a sync that has not shipped all is no round": 2_190,
  "a txid that falls, or is overtaken by the replica's, ends the epoch": 135,
  "this Machine's file is not used when it lacks something": 380,
  "nothing is acknowledged in an epoch whose release was sent": 465,
};

for (const [rule, broken] of Object.entries(brokenRules))
  test(`the model finds that it is not so: ${rule}`, { timeout: 900_000 }, async () => {
    const from = inHaste ? (startsAt[rule] ?? 1) : 1;
    const found = await seedThatFinds(broken, { from, count: maxSeeds });
    expect(found, `${maxSeeds} schedules have not shown it`).not.toBeNull();
    if (found !== null) console.log(`${rule}: seed ${found.seed}: ${found.violation.message.slice(0, 160)}`);
  });
