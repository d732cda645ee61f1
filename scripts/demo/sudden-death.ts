import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";

import { DemoError } from "./demo-error.ts";

/** Processes that `pid` started and that are still its children. */
export function childrenOf(pid: number): readonly number[] {
  const table = execFileSync("ps", ["-A", "-o", "pid=,ppid="], { encoding: "utf8", timeout: 5_000 });
  return table
    .split("\n")
    .map((line) => line.trim().split(/\s+/).map(Number))
    .flatMap(([child, parent]) => (child !== undefined && parent === pid ? [child] : []));
}

/** SIGKILL to all of them, one right after the other: nobody gets to finish anything. */
export async function killAtOnce(pids: readonly number[], timeoutMs: number): Promise<void> {
  for (const pid of pids) sendKill(pid);
  const deadline = performance.now() + timeoutMs;
  while (pids.some(isRunning)) {
    if (performance.now() > deadline)
      throw new DemoError(`Of the processes ${pids.join(", ")} one outlived SIGKILL.`);
    await sleep(5);
  }
}

/** Deletes the worker's local files. Throws DemoError if something is left, as a process that lives on would make it. */
export async function wipe(folder: string): Promise<void> {
  await rm(folder, { recursive: true, force: true, maxRetries: 3 });
  if (existsSync(folder))
    throw new DemoError(`The data folder ${folder} is still there after it was deleted.`);
}

function sendKill(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch (error) {
    if (!(error instanceof Error && "code" in error && error.code === "ESRCH")) throw error;
  }
}

/** A dead process whose parent has not asked for it yet still answers signal 0, so its state is read where there is /proc. */
function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch {
    return false;
  }
  if (!existsSync("/proc/self/stat")) return true;
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    return !/^[ZX]/.test(stat.slice(stat.lastIndexOf(")") + 2));
  } catch {
    return false;
  }
}
