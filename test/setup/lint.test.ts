import { spawnSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";

const root = fileURLToPath(new URL("../..", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "holdfast-lint-"));

beforeAll(() => {
  for (const path of ["app/host", "app/engine", "tsconfig.json", ".oxlintrc.json"]) {
    cpSync(join(root, path), join(folder, path), { recursive: true });
  }
  symlinkSync(join(root, "node_modules"), join(folder, "node_modules"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** What the linter says of a module in `app/http` with this function body. */
function lint(body: string): string {
  const source = [
    'import type { Tenant } from "../host/host.ts";',
    "",
    "export async function answer(tenant: Tenant): Promise<string> {",
    `  ${body}`,
    '  return "acknowledged";',
    "}",
    "",
  ];
  const file = "app/http/answer.ts";
  mkdirSync(join(folder, "app/http"), { recursive: true });
  writeFileSync(join(folder, file), source.join("\n"));
  const oxlint = spawnSync(join(root, "node_modules/.bin/oxlint"), [file], { cwd: folder, encoding: "utf8" });
  return oxlint.status === 0 ? "clean" : oxlint.stdout;
}

test("an answer that does not await the durability gate fails the lint", () => {
  expect(lint("tenant.durable();")).toContain("no-floating-promises");
});

test("an answer that returns the gate's promise from a try without awaiting it fails the lint", () => {
  const body =
    'try { return tenant.durable().then(() => "acknowledged"); } catch { /* Caught here, it seems. */ }';
  expect(lint(body)).toContain("return-await");
});

test("an answer that awaits the durability gate passes the lint", () => {
  expect(lint("await tenant.durable();")).toBe("clean");
});
