import { writeFileSync } from "node:fs";

/**
 * @typedef {object} Counts How a run of the tests ended.
 * @property {number} passed
 * @property {string[]} failed Failed tests, files that could not be loaded, errors outside of any test.
 * @property {string[]} skipped Skipped and planned tests, and those that a filter left out.
 */

/**
 * A vitest reporter that writes Counts to the file that HOLDFAST_TEST_COUNTS names. vitest's own JSON report has no errors
 * from outside of tests, and puts a line of its own behind the summary.
 */
export default class CountReporter {
  /**
   * @param {readonly import("vitest/node").TestModule[]} modules
   * @param {readonly import("vitest").SerializedError[]} errors
   */
  onTestRunEnd(modules, errors) {
    /** @type {Counts} */
    const counts = { passed: 0, failed: errors.map((error) => error.message), skipped: [] };
    for (const module of modules) {
      const tests = [...module.children.allTests()];
      counts.passed += tests.filter((test) => test.result().state === "passed").length;
      const skipped = tests.filter((test) => ["skipped", "pending"].includes(test.result().state));
      counts.skipped.push(...skipped.map((test) => `${module.relativeModuleId}: ${test.fullName}`));
      const failed = tests.filter((test) => test.result().state === "failed").map((test) => test.fullName);
      // A file that failed without a failed test: it could not be loaded, or one of its hooks failed.
      if (failed.length === 0 && module.state() === "failed") failed.push("the file itself");
      counts.failed.push(...failed.map((name) => `${module.relativeModuleId}: ${name}`));
    }
    const file = process.env["HOLDFAST_TEST_COUNTS"];
    if (file !== undefined) writeFileSync(file, JSON.stringify(counts));
  }
}
