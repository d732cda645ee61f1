import { mkdirSync, renameSync } from "node:fs";
import { dirname, join } from "node:path";
import { goInstall } from "./go-install.mjs";
import { isOlder, isProgram, onPath, versionOf } from "./program.mjs";
import { projectRoot } from "./project-root.mjs";
import { runCommand } from "./run-command.mjs";

const version = "1.8.0";
const cached = join(projectRoot, ".cache/bin/versitygw");

/** A real S3 server that honours conditional writes, for the tests. */
export const versitygw = { name: "versitygw", find, install };

async function find() {
  for (const candidate of [cached, ...onPath("versitygw"), ...(await inGoFolder())].filter(isProgram)) {
    const found = await versionOf(candidate, "--version");
    if (found !== undefined && !isOlder(found, version)) return `versitygw ${found}`;
  }
  return undefined;
}

/** Where `go install` puts programs, which need not be on PATH. */
async function inGoFolder() {
  const goPath = await runCommand("go", ["env", "GOPATH"], { timeoutMs: 30_000 }).catch(() => "");
  return goPath.trim() === "" ? [] : [join(goPath.trim(), "bin/versitygw")];
}

/** @param {string} scratch */
async function install(scratch) {
  let binary;
  try {
    binary = await goInstall({ module: "github.com/versity/versitygw/cmd/versitygw", version, scratch });
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new Error(
      `versitygw ${version}, which the tests need, could not be built. ${reason}. Install Go, or put versitygw on PATH.`,
      { cause },
    );
  }
  mkdirSync(dirname(cached), { recursive: true });
  renameSync(binary, cached);
}
