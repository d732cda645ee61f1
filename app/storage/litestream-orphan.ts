import { execFile } from "node:child_process";
import { readFile, rm } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { errorCode } from "./error-code.ts";
import { connectLitestream } from "./litestream-control.ts";
import type { Logger } from "./litestream-log.ts";
import type { LitestreamSocket } from "./litestream-socket.ts";

/** The variable by which litestream.yml, and the search for a process of an earlier life, know the socket. */
export const socketVariable = "HOLDFAST_LITESTREAM_SOCKET";

const goneWithinMs = 5_000;

/**
 * Ends the Litestream that an earlier life of this host left behind on the same data folder, if there is one, and
 * removes its socket. It is found by what answers on the socket and by the file with its process id (one that is
 * stopped does not answer). Only call this while holding the data folder's lock. Throws if one lives on.
 */
export async function endOrphan(options: {
  readonly socket: LitestreamSocket;
  readonly configPath: string;
  readonly log: Logger;
}): Promise<void> {
  const { socket, log } = options;
  const written = await writtenPid(socket.pidPath);
  if (written !== undefined && (await isOurs(written, options))) await end(written, log);
  const answering = await answeringPid(socket.socketPath);
  if (answering !== undefined) {
    if (!(await isOurs(answering, options))) {
      throw new Error(
        `Something answers on "${socket.socketPath}" as process ${answering}, but it is not a Litestream that this data folder's host started. End it and start again.`,
      );
    }
    await end(answering, log);
  }
  await rm(socket.socketPath, { force: true });
  await rm(socket.pidPath, { force: true });
}

async function writtenPid(pidPath: string): Promise<number | undefined> {
  try {
    const pid = Number(await readFile(pidPath, "utf8"));
    return Number.isSafeInteger(pid) && pid > 1 ? pid : undefined;
  } catch (error) {
    if (errorCode(error) === "ENOENT") return undefined;
    throw error;
  }
}

async function answeringPid(socketPath: string): Promise<number | undefined> {
  const control = connectLitestream(socketPath);
  try {
    return (await control.info()).pid;
  } catch {
    return undefined;
  } finally {
    control.close();
  }
}

async function end(pid: number, log: Logger): Promise<void> {
  log.warn({ pid }, "a Litestream of an earlier life is still running: ending it");
  try {
    process.kill(pid, "SIGKILL");
  } catch (error) {
    if (errorCode(error) !== "ESRCH") throw error;
  }
  const deadline = performance.now() + goneWithinMs;
  while (await isAlive(pid)) {
    if (performance.now() > deadline) {
      throw new Error(
        `Litestream of an earlier life (process ${pid}) did not end within ${goneWithinMs} ms.`,
      );
    }
    await sleep(10);
  }
}

/** A process id may have been given to another process meanwhile: only a Litestream with our socket may be killed. */
async function isOurs(
  pid: number,
  { socket, configPath }: { readonly socket: LitestreamSocket; readonly configPath: string },
): Promise<boolean> {
  if (!(await isAlive(pid))) return false;
  if (process.platform !== "linux") {
    return (await ps(pid, "command")).includes(`replicate -config ${configPath}`);
  }
  const [command, environment] = await Promise.all([
    procEntries(pid, "cmdline"),
    procEntries(pid, "environ"),
  ]);
  return command.includes("replicate") && environment.includes(`${socketVariable}=${socket.socketPath}`);
}

/** A dead process whose parent has not asked for its end is a zombie: `kill(pid, 0)` finds it, but it does nothing any more. */
async function isAlive(pid: number): Promise<boolean> {
  const state = process.platform === "linux" ? await procState(pid) : await ps(pid, "stat");
  return state !== "" && !/^[ZXx]/.test(state);
}

async function procState(pid: number): Promise<string> {
  // "pid (name) state …", where the name may hold spaces and parentheses.
  const status = await readProc(pid, "stat");
  return status.slice(status.lastIndexOf(")") + 1).trim();
}

async function procEntries(pid: number, file: "cmdline" | "environ"): Promise<readonly string[]> {
  return (await readProc(pid, file)).split("\0");
}

/** "" if there is no such process, or it is another user's. */
async function readProc(pid: number, file: string): Promise<string> {
  try {
    return await readFile(`/proc/${pid}/${file}`, "utf8");
  } catch {
    return "";
  }
}

async function ps(pid: number, column: "stat" | "command"): Promise<string> {
  try {
    const { stdout } = await promisify(execFile)("ps", ["-ww", "-o", `${column}=`, "-p", String(pid)]);
    return stdout.trim();
  } catch {
    return "";
  }
}
