import { execFile, spawn, type ChildProcess } from "node:child_process";
import { promisify } from "node:util";
import { errorCode } from "./error-code.ts";
import { LitestreamLog, type Logger } from "./litestream-log.ts";

export type Environment = Readonly<Record<string, string | undefined>>;

/** One Litestream from its start to its end. */
export interface LitestreamProcess {
  /** undefined if it could not be started; `ended` says why. */
  readonly pid: number | undefined;
  /** Resolves with the reason, in words, when the process is gone. Never rejects. */
  readonly ended: Promise<string>;
  /** Standard output, up to a bound; complete when the process has ended with exit code 0. */
  readonly output: () => string;
  readonly exitCode: () => number | null;
  /** Sends the signal to the process and whatever it started. */
  kill(signal: "SIGTERM" | "SIGKILL"): void;
}

const maxOutputLength = 64 * 1024;

/**
 * Runs Litestream in a process group of its own, so that a Ctrl+C in a terminal does not reach it before we have synced.
 * Where there is a `setpriv`, the kernel kills it when the thread that called this ends: call it from the main thread.
 */
export async function startLitestream(options: {
  readonly binary: string;
  readonly arguments: readonly string[];
  readonly environment: Environment;
  readonly log: Logger;
}): Promise<LitestreamProcess> {
  const env = litestreamEnvironment(options.environment);
  const [command, ...before] = await diesWithParent(options.binary, env);
  const child = spawn(command, [...before, ...options.arguments], {
    env,
    detached: true,
    stdio: ["ignore", "pipe", "pipe"],
  });
  const lines = new LitestreamLog(options.log);
  let output = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => lines.write(text));
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    output += text.slice(0, maxOutputLength - output.length);
  });
  return {
    pid: child.pid,
    ended: describeEnd(child, lines),
    output: () => output,
    exitCode: () => child.exitCode,
    kill: (signal) => killGroup(child, signal),
  };
}

/** AWS_CA_BUNDLE breaks Litestream's S3 client completely, and our own secrets are none of its business. */
const withheld = ["AWS_CA_BUNDLE", "HOLDFAST_TOKEN_SECRET", "HOLDFAST_MASTER_KEY"];

function litestreamEnvironment(environment: Environment): Record<string, string | undefined> {
  return Object.fromEntries(Object.entries(environment).filter(([name]) => !withheld.includes(name)));
}

function describeEnd(child: ChildProcess, lines: LitestreamLog): Promise<string> {
  return new Promise((resolve) => {
    child.once("error", (error) => {
      if (child.pid === undefined) resolve(`it cannot be started: ${error.message}`);
    });
    // "close" comes after the last line was read, "exit" may come before.
    child.once("close", (code, signal) => {
      lines.end();
      const how = signal === null ? `it exited with code ${code}` : `it was ended by ${signal}`;
      resolve(lines.lastLines === "" ? how : `${how}: ${lines.lastLines}`);
    });
  });
}

function killGroup(child: ChildProcess, signal: "SIGTERM" | "SIGKILL"): void {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  try {
    process.kill(-child.pid, signal);
  } catch (error) {
    if (errorCode(error) !== "ESRCH") throw error;
  }
}

const setpriv = ["setpriv", "--pdeathsig", "KILL"] as const;
const probes = new Map<string, Promise<boolean>>();

/** The command that starts `binary`; `setpriv` becomes it by exec, so the process id stays the same. */
async function diesWithParent(binary: string, env: Environment): Promise<readonly [string, ...string[]]> {
  const where = env["PATH"] ?? "";
  const probe = probes.get(where) ?? probeSetpriv(env);
  probes.set(where, probe);
  return (await probe) ? [...setpriv, binary] : [binary];
}

/** Some have no `setpriv` (macOS), some one that does not know the option (BusyBox). */
async function probeSetpriv(env: Environment): Promise<boolean> {
  const [command, ...options] = setpriv;
  try {
    await promisify(execFile)(command, [...options, "true"], { env, timeout: 5_000 });
    return true;
  } catch {
    return false;
  }
}
