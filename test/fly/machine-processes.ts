import { readdirSync, readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { killAtOnce } from "../../scripts/demo/sudden-death.ts";

const boundMs = 10_000;

/**
 * Every process of a Machine: those that carry its id in their environment, whoever started them and whether or not that
 * one still lives. On Fly they live and die with one kernel.
 */
export function processesOf(machineId: string): readonly number[] {
  const mark = `FLY_MACHINE_ID=${machineId}\0`;
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => readOf(pid, "environ").includes(mark) && !"XZ".includes(stateOf(pid)));
}

/** SIGKILL to all of them until none is left; throws if some outlive that for 10 s. */
export async function endProcessesOf(machineId: string): Promise<void> {
  const deadline = performance.now() + boundMs;
  for (let pids = processesOf(machineId); pids.length > 0; pids = processesOf(machineId)) {
    if (performance.now() > deadline) throw new Error(`The processes ${pids.join(", ")} outlive SIGKILL.`);
    await killAtOnce(pids, boundMs);
  }
}

/** Stops all of them, as a snapshot of the Machine does; the main process first, so that it sees no other one stop. */
export async function freezeProcessesOf(machineId: string, main: number): Promise<void> {
  await freeze(main);
  for (const pid of processesOf(machineId)) await freeze(pid);
}

/** Lets all of them run on, the main process last. */
export function thawProcessesOf(machineId: string, main: number): void {
  for (const pid of processesOf(machineId)) if (pid !== main) process.kill(pid, "SIGCONT");
  process.kill(main, "SIGCONT");
}

async function freeze(pid: number): Promise<void> {
  process.kill(pid, "SIGSTOP");
  const deadline = performance.now() + boundMs;
  while (!"TXZ".includes(stateOf(pid))) {
    if (performance.now() > deadline) throw new Error(`The process ${pid} does not stop.`);
    await sleep(2);
  }
}

/** The letter of the process's state, such as R, S or T; X if it is gone. */
function stateOf(pid: number): string {
  const stat = readOf(pid, "stat");
  return stat.slice(stat.lastIndexOf(")") + 2)[0] ?? "X";
}

/** Empty if the process is gone, or is not ours to read. */
function readOf(pid: number, name: string): string {
  try {
    return readFileSync(`/proc/${pid}/${name}`, "latin1");
  } catch {
    return "";
  }
}
