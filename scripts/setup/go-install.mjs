import { basename, join } from "node:path";
import { outsideEnvironment, runCommand } from "./run-command.mjs";

/** Building from an empty cache takes about 2 minutes on 2 cores. */
const buildTimeoutMs = 15 * 60_000;

/**
 * Builds a Go program in `scratch` and resolves with its path. Go checks what it downloads against its checksum database.
 *
 * @param {{ module: string, version: string, scratch: string }} what
 */
export async function goInstall({ module, version, scratch }) {
  // GOBIN cannot be combined with a build for another platform.
  const env = { ...outsideEnvironment, GOBIN: scratch, GOOS: "", GOARCH: "" };
  await runCommand("go", ["install", `${module}@v${version}`], {
    timeoutMs: buildTimeoutMs,
    env,
    cwd: scratch,
  });
  return join(scratch, basename(module));
}
