import type { Branch } from "./agent.ts";

/** So many branches go on at the same time if the call does not say: what each of them asks for must find room in queues. */
const defaultConcurrency = 1_000;

export interface MapCall {
  readonly name: string;
  readonly items: readonly unknown[];
  readonly concurrency: number;
  readonly fn: (item: unknown, branch: Branch) => unknown;
}

/** Reads the arguments of `step.map(name, items, [options], fn)`. Throws TypeError. */
export function readMapCall([name, items, optionsOrFn, maybeFn]: readonly unknown[]): MapCall {
  const fn = typeof optionsOrFn === "function" ? optionsOrFn : maybeFn;
  const options =
    typeof optionsOrFn === "function" ? {} : (optionsOrFn as { readonly concurrency?: unknown });
  const what = `step.map("${String(name)}")`;
  if (!Array.isArray(items)) throw new TypeError(`${what} needs an array of items.`);
  if (typeof fn !== "function") throw new TypeError(`${what} needs a function.`);
  const concurrency = options?.concurrency ?? defaultConcurrency;
  if (typeof concurrency !== "number" || !(concurrency >= 1))
    throw new RangeError(`${what}: concurrency must be a number from 1 on.`);
  return { name: name as string, items, concurrency, fn: fn as MapCall["fn"] };
}

/** Runs the branches, `concurrency` at a time; none begins after one has failed. Results in the order of the items. */
export async function runBranches(
  items: readonly unknown[],
  concurrency: number,
  run: (item: unknown, index: number) => unknown,
): Promise<unknown[]> {
  const results = Array.from<unknown>({ length: items.length });
  let next = 0;
  let failed = false;
  const worker = async (): Promise<void> => {
    while (next < items.length && !failed) {
      const index = next++;
      try {
        results[index] = await run(items[index], index);
      } catch (error) {
        failed = true;
        throw error;
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(concurrency, items.length) }, worker));
  return results;
}
