import { accessSync, constants } from "node:fs";
import { delimiter, isAbsolute, join } from "node:path";
import { runCommand } from "./run-command.mjs";

/**
 * Where PATH has the program, best first.
 *
 * @param {string} name
 * @returns {string[]}
 */
export function onPath(name) {
  const folders = (process.env["PATH"] ?? "").split(delimiter).filter((folder) => isAbsolute(folder));
  return [...new Set(folders)].map((folder) => join(folder, name)).filter(isProgram);
}

/** @param {string} path */
export function isProgram(path) {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/**
 * The version that a program says it has, else the one that Go built it from; `undefined` if neither tells.
 *
 * @param {string} path
 * @param {string} question The argument that asks for the version.
 * @returns {Promise<string | undefined>}
 */
export async function versionOf(path, question) {
  const said = versionIn(await runCommand(path, [question], { timeoutMs: 30_000 }).catch(() => ""));
  if (said !== undefined) return said;
  const built = await runCommand("go", ["version", "-m", path], { timeoutMs: 30_000 }).catch(() => "");
  return versionIn(/^\s*mod\s+\S+\s+(\S+)/m.exec(built)?.[1] ?? "");
}

/**
 * @param {string} version
 * @param {string} than
 */
export function isOlder(version, than) {
  return version.localeCompare(than, "en", { numeric: true }) < 0;
}

/** @param {string} text */
function versionIn(text) {
  return /\bv?(\d+\.\d+\.\d+)\b/.exec(text)?.[1];
}
