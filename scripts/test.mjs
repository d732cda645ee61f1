/**
 * `npm test`: runs vitest, with the arguments passed on, and ends with one line that a script can read. Whatever made vitest
 * fail is counted: a file that cannot be loaded, and an error outside of any test, as one failure each. Where `CI` is set,
 * a skipped test is a failure too, because there every real component must be there.
 */
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { constants, tmpdir } from "node:os";
import { join } from "node:path";
import { projectRoot } from "./setup/project-root.mjs";

const folder = mkdtempSync(join(tmpdir(), "holdfast-test-"));
const countsFile = join(folder, "counts.json");
const exitCode = await runVitest(process.argv.slice(2));
const counts = readCounts();
rmSync(folder, { recursive: true, force: true });

const skipped = process.env["CI"] ? counts.skipped : [];
for (const test of skipped) console.log(`skipped, which is a failure in CI: ${test}`);
const failed = Math.max(counts.failed.length + skipped.length, exitCode === 0 ? 0 : 1);
console.log(`${counts.passed} passed, ${failed} failed`);
process.exitCode = exitCode === 0 && failed > 0 ? 1 : exitCode;

/**
 * @param {readonly string[]} args
 * @returns {Promise<number>} The exit code, as a shell would give it where a signal ended vitest.
 */
function runVitest(args) {
  const vitest = join(projectRoot, "node_modules/vitest/vitest.mjs");
  const reporter = join(projectRoot, "scripts/test/count-reporter.mjs");
  const child = spawn(
    process.execPath,
    [vitest, "run", "--reporter=default", `--reporter=${reporter}`, ...args],
    {
      cwd: projectRoot,
      env: { ...process.env, HOLDFAST_TEST_COUNTS: countsFile },
      stdio: "inherit",
    },
  );
  // A terminal sends SIGINT to vitest as well: this process only has to outlive it.
  process.on("SIGINT", () => {});
  process.on("SIGTERM", () => child.kill("SIGTERM"));
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code, signal) =>
      resolve(code ?? 128 + (signal === null ? 0 : constants.signals[signal])),
    );
  });
}

/**
 * @returns {import("./test/count-reporter.mjs").Counts} Nothing but one failure if vitest did not come as far as counting.
 */
function readCounts() {
  try {
    return JSON.parse(readFileSync(countsFile, "utf8"));
  } catch {
    return { passed: 0, failed: ["vitest itself"], skipped: [] };
  }
}
