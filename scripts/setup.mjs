/**
 * `npm run setup [-- --tests]`: fetches what a fresh clone lacks, and is done at once when nothing is missing.
 *
 * This is the first stage of the other commands, so it must run on the machine's own Node, from 20 on, without any package.
 * Whatever follows it in an npm script is started by `env node`: a shell remembers where it found the first `node`, and
 * would go on with the machine's although `node_modules/.bin` has one by then.
 */
import { mkdirSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { litestream } from "./setup/litestream.mjs";
import { withLock } from "./setup/lock.mjs";
import { nodeModules } from "./setup/node-modules.mjs";
import { Progress } from "./setup/progress.mjs";
import { projectRoot } from "./setup/project-root.mjs";
import { endChildren } from "./setup/run-command.mjs";
import { versitygw } from "./setup/versitygw.mjs";

/**
 * @typedef {object} Part Something that a clone needs.
 * @property {string} name
 * @property {(scratch: string) => Promise<void>} install Fetches it; `scratch` is a folder for its temporary files.
 * @property {() => Promise<string | undefined>} find What is there, in a few words; `undefined` if it must be fetched.
 *   Both throw with one clear line when a person has to act.
 */

const cacheFolder = join(projectRoot, ".cache");
const scratchPrefix = "setup-";

const unknownArguments = process.argv.slice(2).filter((argument) => argument !== "--tests");
if (unknownArguments.length > 0) {
  console.error(`setup: unknown argument ${unknownArguments.join(" ")}; the only one is --tests`);
  process.exit(2);
}
for (const signal of /** @type {const} */ (["SIGINT", "SIGTERM", "SIGHUP"])) {
  process.once(signal, () => {
    endChildren();
    process.exit(1);
  });
}
process.exit(
  (await setUp([nodeModules, litestream, ...(process.argv.includes("--tests") ? [versitygw] : [])])) ? 0 : 1,
);

/** @param {readonly Part[]} parts */
async function setUp(parts) {
  const progress = new Progress("setup");
  if (await report(parts, progress)) return true;
  mkdirSync(cacheFolder, { recursive: true });
  const onWait = () => progress.say("another setup is at work here; waiting for it");
  return withLock(join(cacheFolder, "setup.lock"), onWait, async () => {
    removeLeftovers();
    const done = await Promise.all(parts.map((part) => fetchPart(part, progress)));
    return done.every(Boolean);
  });
}

/**
 * Says what is there if nothing is missing.
 *
 * @param {readonly Part[]} parts
 * @param {Progress} progress
 */
async function report(parts, progress) {
  const found = await Promise.allSettled(parts.map((part) => part.find()));
  const texts = found.flatMap((result) =>
    result.status === "fulfilled" && result.value ? [result.value] : [],
  );
  if (texts.length < parts.length) return false;
  progress.say(texts.join(", "));
  return true;
}

/**
 * @param {Part} part
 * @param {Progress} progress
 * @returns {Promise<boolean>} Whether the part is there now; if not, the reason was printed.
 */
async function fetchPart(part, progress) {
  const scratch = join(cacheFolder, `${scratchPrefix}${part.name}`);
  try {
    const before = await part.find();
    if (before !== undefined) {
      progress.say(before);
      return true;
    }
    mkdirSync(scratch);
    await progress.during(`fetching ${part.name}`, () => part.install(scratch));
    const after = await part.find();
    if (after === undefined)
      throw new Error(`${part.name} was fetched and is still not there. Run the command again.`);
    progress.say(after);
    return true;
  } catch (error) {
    progress.fail(error instanceof Error ? error.message : String(error));
    return false;
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

/** Only the holder of the lock calls this: no other setup can be using these folders. */
function removeLeftovers() {
  for (const name of readdirSync(cacheFolder)) {
    if (name.startsWith(scratchPrefix)) {
      rmSync(join(cacheFolder, name), { recursive: true, force: true });
    }
  }
}
