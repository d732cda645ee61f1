import { spawnSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";

const root = fileURLToPath(new URL("../..", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "holdfast-counts-"));

beforeAll(() => {
  for (const path of [
    "scripts/test.mjs",
    "scripts/test",
    "scripts/setup/project-root.mjs",
    "vitest.config.ts",
    "package.json",
  ]) {
    cpSync(join(root, path), join(folder, path), { recursive: true });
  }
  symlinkSync(join(root, "node_modules"), join(folder, "node_modules"));
  mkdirSync(join(folder, "test"));
  const files = {
    good: 'test("holds", () => {}); test("holds too", () => {});',
    skipping: 'test("holds", () => {}); test.skip("is left out", () => {}); test.todo("is planned");',
    failing: 'test("holds", () => {}); test("breaks", () => { throw new Error("broken"); });',
    unloadable: 'import "./missing.ts";',
    late: 'test("holds", () => new Promise((done) => { setTimeout(() => { throw new Error("late"); }, 1); setTimeout(done, 100); }));',
  };
  for (const [name, body] of Object.entries(files)) {
    writeFileSync(join(folder, `test/${name}.test.ts`), `import { test } from "vitest";\n${body}\n`);
  }
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

test.each([
  { files: ["good"], ci: true, ends: "2 passed, 0 failed", status: 0 },
  { files: ["skipping"], ci: false, ends: "1 passed, 0 failed", status: 0 },
  { files: ["skipping"], ci: true, ends: "1 passed, 2 failed", status: 1 },
  { files: ["good", "failing", "unloadable"], ci: false, ends: "3 passed, 2 failed", status: 1 },
  { files: ["late"], ci: false, ends: "1 passed, 1 failed", status: 1 },
  { files: ["no-such-file"], ci: false, ends: "0 passed, 1 failed", status: 1 },
  { files: ["--no-such-option"], ci: false, ends: "0 passed, 1 failed", status: 1 },
])("npm test of $files (CI: $ci) ends with: $ends", ({ files, ci, ends, status }) => {
  const environment = Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !/^(VITEST|CI$|NODE_ENV$)/.test(name)),
  );
  const run = spawnSync(process.execPath, ["scripts/test.mjs", ...files], {
    cwd: folder,
    encoding: "utf8",
    env: { ...environment, ...(ci ? { CI: "true" } : {}) },
  });
  expect(run.stdout.trimEnd().split("\n").at(-1), run.stderr).toBe(ends);
  expect(run.status).toBe(status);
  const named = run.stdout.split("\n").filter((line) => line.startsWith("skipped"));
  expect(named).toHaveLength(ci && files.includes("skipping") ? 2 : 0);
});
