import { readFileSync } from "node:fs";

/** Linux counts in hundredths of a second, whatever the kernel's own tick is. */
const ticksPerSecond = 100;

/** Seconds of processor time that the process has used up to now; 0 where there is no /proc. */
export function processorSeconds(pid: number): number {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    // The second field is the program's name in parentheses and may hold anything: the 14th and 15th are counted after it.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return (Number(fields[11]) + Number(fields[12])) / ticksPerSecond;
  } catch {
    return 0;
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
