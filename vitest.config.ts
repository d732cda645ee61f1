import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    environment: "node",
    include: ["test/**/*.test.ts"],
    // Native SQLite, signals and current directories belong to a process, so test files do not share one.
    pool: "forks",
    // The drills of real processes want a core each; more workers than cores only make their waits longer.
    maxWorkers: 2,
    testTimeout: 30_000,
    hookTimeout: 60_000,
    teardownTimeout: 30_000,
  },
});
