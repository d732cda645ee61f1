import { readFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import { projectRoot } from "./project-root.mjs";
import { outsideEnvironment, runCommand } from "./run-command.mjs";

const neededMajor = 24;
const installTimeoutMs = 10 * 60_000;

/** The packages that package-lock.json names, and with them a Node that runs TypeScript. */
export const nodeModules = { name: "node_modules", find, install };

/** Throws if the packages are there, but no Node that is new enough. */
async function find() {
  if (!holdsWhatIsLocked()) return undefined;
  const path = [join(projectRoot, "node_modules/.bin"), process.env["PATH"] ?? ""].join(delimiter);
  const output = await runCommand("node", ["--version"], {
    timeoutMs: 30_000,
    env: { ...process.env, PATH: path },
  });
  const version = output.trim().replace(/^v/, "");
  if (Number.parseInt(version, 10) >= neededMajor) return `Node ${version}`;
  throw new Error(
    `npm scripts would run on Node ${version}, and Node ${neededMajor} is needed: npm did not run the install script of the ` +
      'package "node" (is ignore-scripts set?). Run `npm rebuild node --ignore-scripts=false`, or install Node 24.',
  );
}

async function install() {
  const args = ["ci", "--no-audit", "--no-fund", "--loglevel=error"];
  try {
    await runCommand("npm", args, { timeoutMs: installTimeoutMs, env: outsideEnvironment });
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new Error(
      `The packages could not be installed. ${reason}. Mend that and run \`npm ci\` to see all of it.`,
      { cause: error },
    );
  }
}

/**
 * Compares contents, not times, which a checkout or a restored cache sets at will: npm writes what it has installed
 * into node_modules, and only when everything was there.
 */
function holdsWhatIsLocked() {
  const locked = readPackages(join(projectRoot, "package-lock.json"));
  if (locked === undefined) throw new Error("package-lock.json is missing: this is no complete clone.");
  const installed = readPackages(join(projectRoot, "node_modules/.package-lock.json"));
  if (installed === undefined) return false;
  return Object.entries(locked).every(([path, entry]) => {
    const there = installed[path];
    // A package for another platform is locked and not installed.
    if (there === undefined) return path === "" || entry.optional === true || entry.devOptional === true;
    return there.version === entry.version && there.integrity === entry.integrity;
  });
}

/**
 * @param {string} lockFile
 * @returns {Record<string, { version?: string, integrity?: string, optional?: boolean, devOptional?: boolean }> | undefined}
 */
function readPackages(lockFile) {
  let text;
  try {
    text = readFileSync(lockFile, "utf8");
  } catch {
    return undefined;
  }
  return JSON.parse(text).packages;
}
