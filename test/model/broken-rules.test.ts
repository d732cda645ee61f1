import { expect, test } from "vitest";
import { brokenRules } from "./broken-rules.ts";
import { inHaste, seedThatFinds } from "./seeds.ts";

const maxSeeds = 4_000;

/** Rules that few schedules depend on: a seed shortly before the first that shows it. */
const startsAt: Readonly<Record<string, number>> = {
  "a tenant is restored after it was claimed": 160,
  "a host that has beaten meanwhile is not fenced": 100,
  "a proof under way is not joined": 320,
  "a proof is sent after the sync has answered": 470,
  "what has nothing to ship is proved all the same": 505,
  "a txid that falls, or is overtaken by the replica's, ends the epoch": 140,
  "this Machine's file is not used when it lacks something": 300,
  "a restore is void if the record was changed meanwhile": 1_820,
  "a file moves to its new epoch in one rename, with its WAL": 515,
  "a parked file is used only as it was parked": 410,
  "nothing is acknowledged in an epoch whose release was sent": 1_150,
};

for (const [rule, broken] of Object.entries(brokenRules))
  test(`the model finds that it is not so: ${rule}`, { timeout: 900_000 }, async () => {
    const from = inHaste ? (startsAt[rule] ?? 1) : 1;
    const found = await seedThatFinds(broken, { from, count: maxSeeds });
    expect(found, `${maxSeeds} schedules have not shown it`).not.toBeNull();
    if (found !== null) console.log(`${rule}: seed ${found.seed}: ${found.violation.message.slice(0, 160)}`);
  });
