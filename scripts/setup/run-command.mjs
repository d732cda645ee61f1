import { spawn } from "node:child_process";
import { delimiter, join } from "node:path";
import { projectRoot } from "./project-root.mjs";

/** Enough of what a failed program said to tell why. */
const maxOutputChars = 64 * 1024;

/** @type {Set<import("node:child_process").ChildProcess>} */
const running = new Set();

/** The environment for programs that must not meet the packages of this clone, which may be in the middle of being replaced. */
export const outsideEnvironment = {
  ...process.env,
  PATH: (process.env["PATH"] ?? "")
    .split(delimiter)
    .filter((folder) => folder !== join(projectRoot, "node_modules/.bin"))
    .join(delimiter),
};

/**
 * Runs a program to its end and resolves with what it wrote (standard output, then errors, bounded to the last part).
 * Throws an error with one line if it cannot be started, takes too long or fails.
 *
 * @param {string} program
 * @param {readonly string[]} args
 * @param {{ timeoutMs: number, env?: NodeJS.ProcessEnv, cwd?: string }} options
 * @returns {Promise<string>}
 */
export function runCommand(program, args, { timeoutMs, env = process.env, cwd = projectRoot }) {
  return new Promise((resolve, reject) => {
    // A process group of its own, so that a time limit also ends what the program started.
    const child = spawn(program, args, { cwd, env, detached: true, stdio: ["ignore", "pipe", "pipe"] });
    running.add(child);
    let output = "";
    let errors = "";
    let timedOut = false;
    child.stdout
      .setEncoding("utf8")
      .on("data", (chunk) => (output = (output + chunk).slice(-maxOutputChars)));
    child.stderr
      .setEncoding("utf8")
      .on("data", (chunk) => (errors = (errors + chunk).slice(-maxOutputChars)));
    const timer = setTimeout(() => {
      timedOut = true;
      endGroup(child);
    }, timeoutMs);
    child.on("error", (error) => reject(new Error(`${program} cannot be started (${error.message})`)));
    child.on("close", (code) => {
      clearTimeout(timer);
      running.delete(child);
      if (code === 0) resolve(output + errors);
      else if (timedOut) reject(new Error(`${program} was not done after ${timeoutMs / 1_000} s`));
      else reject(new Error(`${program}: ${reasonIn(errors) ?? reasonIn(output) ?? `exit code ${code}`}`));
    });
  });
}

/** Ends every program that `runCommand` has started. */
export function endChildren() {
  for (const child of running) endGroup(child);
}

/** @param {import("node:child_process").ChildProcess} child */
function endGroup(child) {
  if (child.pid === undefined) return;
  try {
    process.kill(-child.pid, "SIGTERM");
  } catch {
    // It has ended in the meantime.
  }
}

/**
 * The lines that say best why a program failed, without what npm puts around them.
 *
 * @param {string} output
 */
function reasonIn(output) {
  const lines = output.split("\n").flatMap((line) => (line.trim() === "" ? [] : [line.trim()]));
  const errors = lines
    .filter((line) => /\berror\b/i.test(line))
    .map((line) => line.replace(/^npm error\s*/, ""))
    .filter((line) => line !== "" && !/^(code|syscall|errno|path) |^A complete log /.test(line));
  const reason = errors.slice(0, 2).join(" ") || lines.at(-1);
  return reason?.replace(/\.$/, "");
}
