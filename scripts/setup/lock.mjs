import { closeSync, openSync, readFileSync, rmSync, statSync, unlinkSync, utimes, writeSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";

const pollMs = 250;
const beatMs = 5_000;
/** A holder that has not beaten for so long is gone, whatever process has its pid by now. */
const staleMs = 60_000;
const maxWaitMs = 20 * 60_000;

/**
 * Does `work` while no other process that asked for the same lock file does. The lock of a process that was killed is
 * taken over. Throws if the lock cannot be had within 20 minutes.
 *
 * @template T
 * @param {string} path
 * @param {() => void} onWait Called once if another process has the lock.
 * @param {() => Promise<T>} work
 * @returns {Promise<T>}
 */
export async function withLock(path, onWait, work) {
  const waitUntil = Date.now() + maxWaitMs;
  for (let waits = 0; !createLock(path); waits += 1) {
    if (removeIfAbandoned(path)) continue;
    if (Date.now() > waitUntil)
      throw new Error(`Another process has held ${path} for too long. If there is none, remove the file.`);
    if (waits === 0) onWait();
    await sleep(pollMs);
  }
  // A beat that finds no lock changes nothing: someone has removed it by hand.
  const beat = setInterval(() => utimes(path, new Date(), new Date(), () => {}), beatMs);
  const release = () => rmSync(path, { force: true });
  process.once("exit", release);
  try {
    return await work();
  } finally {
    clearInterval(beat);
    process.off("exit", release);
    release();
  }
}

/**
 * @param {string} path
 * @returns {boolean} False if the file exists.
 */
function createLock(path) {
  try {
    const file = openSync(path, "wx");
    writeSync(file, `${process.pid} ${Date.now()}`);
    closeSync(file);
    return true;
  } catch (error) {
    if (isCode(error, "EEXIST")) return false;
    throw error;
  }
}

/**
 * Of several processes that find the same dead holder exactly one may remove its lock, or the second would remove the
 * first one's new lock: whoever creates the file that is named after the dead holder's words, and still reads them then.
 *
 * @param {string} path
 * @returns {boolean} Whether the lock may be free now.
 */
function removeIfAbandoned(path) {
  const holder = readHolder(path);
  if (holder === undefined) return true;
  if (!holder.gone) return false;
  const right = `${path}.${holder.words.replace(" ", "-") || "unwritten"}`;
  if (!createLock(right)) return false;
  try {
    if (readHolder(path)?.words === holder.words) unlinkSync(path);
  } finally {
    unlinkSync(right);
  }
  return true;
}

/**
 * @param {string} path
 * @returns {{ words: string, gone: boolean } | undefined} `undefined` if there is no lock.
 */
function readHolder(path) {
  try {
    const words = readFileSync(path, "utf8");
    const untouchedMs = Date.now() - statSync(path).mtimeMs;
    return { words, gone: untouchedMs > staleMs || (words !== "" && !isAlive(Number.parseInt(words, 10))) };
  } catch (error) {
    if (isCode(error, "ENOENT")) return undefined;
    throw error;
  }
}

/** @param {number} pid */
function isAlive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return isCode(error, "EPERM");
  }
}

/**
 * @param {unknown} error
 * @param {string} code
 */
function isCode(error, code) {
  return error instanceof Error && "code" in error && error.code === code;
}
