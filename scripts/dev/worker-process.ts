import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { createInterface } from "node:readline";

import { projectFolder } from "./project-folder.ts";

export interface WorkerExit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** One life of the worker. */
export interface WorkerProcess {
  readonly pid: number;
  /** Never rejects. */
  readonly exited: Promise<WorkerExit>;
  /** Sends SIGTERM, and SIGKILL after `graceMs`; resolves when it is gone. May be called twice. */
  stop(graceMs: number): Promise<WorkerExit>;
  /** SIGKILL at once. */
  kill(): void;
}

/**
 * Starts the worker in a process group of its own, so that Ctrl+C in a terminal reaches it once, through us. Where there is
 * a `setpriv` it is told to stop when we die. Its output goes to ours, or line by line to `onLine`.
 */
export function startWorker(options: {
  /** Of the project's folder, such as `app/main.ts`. */
  readonly script: string;
  readonly flags?: readonly string[];
  readonly environment: NodeJS.ProcessEnv;
  readonly onLine?: (line: string) => void;
}): WorkerProcess {
  const [command = process.execPath, ...before] = stopsWithParent()
    ? [...setpriv, process.execPath]
    : [process.execPath];
  const output = options.onLine === undefined ? "inherit" : "pipe";
  const child = spawn(command, [...before, options.script, ...(options.flags ?? [])], {
    cwd: projectFolder,
    env: options.environment,
    detached: true,
    stdio: ["ignore", output, output],
  });
  if (child.pid === undefined) throw new Error(`The worker cannot be started: ${command} ${options.script}`);
  if (options.onLine !== undefined) readLines(child, options.onLine);
  const exited = exitOf(child);
  const kill = (): void => void child.kill("SIGKILL");
  return {
    pid: child.pid,
    exited,
    kill,
    async stop(graceMs) {
      child.kill("SIGTERM");
      const timer = setTimeout(kill, graceMs);
      const exit = await exited;
      clearTimeout(timer);
      return exit;
    },
  };
}

const setpriv = ["setpriv", "--pdeathsig", "TERM"] as const;

function stopsWithParent(): boolean {
  try {
    execFileSync(setpriv[0], [...setpriv.slice(1), "true"], { stdio: "ignore", timeout: 5_000 });
    return true;
  } catch {
    return false;
  }
}

function readLines(child: ChildProcess, onLine: (line: string) => void): void {
  for (const stream of [child.stdout, child.stderr]) {
    if (stream !== null) createInterface({ input: stream, crlfDelay: Infinity }).on("line", onLine);
  }
}

function exitOf(child: ChildProcess): Promise<WorkerExit> {
  return new Promise((resolve) => {
    // "close" comes when the last of its output was read; a grandchild that kept the pipe open must not hold us up.
    child.once("exit", (code, signal) => setTimeout(resolve, 200, { code, signal }));
    child.once("close", (code, signal) => resolve({ code, signal }));
  });
}
