import { median } from "./statistics.ts";

/**
 * Measures all of them in turn, `rounds` times: whatever else the machine is doing then meets each of them alike. Gives
 * the median of each.
 */
export async function medianOfRounds<Name extends string>(
  rounds: number,
  measures: Readonly<Record<Name, () => Promise<number> | number>>,
): Promise<Readonly<Record<Name, number>>> {
  const names = Object.keys(measures) as Name[];
  const found = Object.fromEntries(names.map((name) => [name, [] as number[]])) as Record<Name, number[]>;
  for (let round = 0; round < rounds; round += 1)
    for (const name of names) found[name].push(await measures[name]());
  return Object.fromEntries(names.map((name) => [name, median(found[name])])) as Record<Name, number>;
}
