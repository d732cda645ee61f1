import { readdirSync, readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";

/** Linux counts in hundredths of a second, whatever the kernel's own tick is. */
const ticksPerSecond = 100;

/** Seconds of processor time that the process has used up to now; 0 where there is no /proc. */
export function processorSeconds(pid: number): number {
  return secondsIn(`/proc/${pid}/stat`);
}

/** Shares of one processor by threads' names, those that used any; empty where there is no /proc. */
export async function sharesOfThreads(pid: number, forMs: number): Promise<ReadonlyMap<string, number>> {
  const before = threadSeconds(pid);
  const begunAt = performance.now();
  await sleep(forMs);
  const seconds = (performance.now() - begunAt) / 1_000;
  const shares = new Map<string, number>();
  for (const [thread, { name, used }] of threadSeconds(pid)) {
    const share = (used - (before.get(thread)?.used ?? 0)) / seconds;
    if (share > 0) shares.set(name, (shares.get(name) ?? 0) + share);
  }
  return shares;
}

/**
 * Resolves once the process uses hardly less than in the stretch before, so that what it had begun earlier, such as a
 * collection of garbage, is over; or after `withinMs`.
 */
export async function untilQuiet(
  pid: number,
  { stretchMs, withinMs }: { readonly stretchMs: number; readonly withinMs: number },
): Promise<void> {
  const deadline = performance.now() + withinMs;
  for (let last = Infinity; performance.now() < deadline;) {
    const before = processorSeconds(pid);
    await sleep(stretchMs);
    const used = processorSeconds(pid) - before;
    if (used >= last * 0.8) return;
    last = used;
  }
}

/** Says how much of a processor each of them used while `work` ran. */
export async function shareOfProcessors<Result>(
  pids: Readonly<Record<string, number | undefined>>,
  work: () => Promise<Result>,
): Promise<{ readonly result: Result; readonly shares: string }> {
  const used = (): readonly number[] =>
    Object.values(pids).map((pid) => (pid === undefined ? 0 : processorSeconds(pid)));
  const [before, begunAt] = [used(), performance.now()];
  const result = await work();
  const [after, seconds] = [used(), (performance.now() - begunAt) / 1_000];
  const shares = Object.keys(pids).map((name, i) => {
    const share = ((after[i] ?? 0) - (before[i] ?? 0)) / seconds;
    return `${name} ${share.toFixed(2)}`;
  });
  return { result, shares: `processors used: ${shares.join(", ")}` };
}

function threadSeconds(pid: number): ReadonlyMap<string, { readonly name: string; readonly used: number }> {
  const folder = `/proc/${pid}/task`;
  try {
    return new Map(
      readdirSync(folder).map((thread) => [
        thread,
        {
          name: readFileSync(`${folder}/${thread}/comm`, "utf8").trim(),
          used: secondsIn(`${folder}/${thread}/stat`),
        },
      ]),
    );
  } catch {
    return new Map();
  }
}

function secondsIn(path: string): number {
  try {
    const stat = readFileSync(path, "utf8");
    // The second field is the program's name in parentheses and may hold anything: the 14th and 15th are counted after it.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return (Number(fields[11]) + Number(fields[12])) / ticksPerSecond;
  } catch {
    return 0;
  }
}
