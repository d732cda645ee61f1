import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { join as joinPosix } from "node:path/posix";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

const root = fileURLToPath(new URL("..", import.meta.url));

/**
 * What each part may import besides itself. A module belongs to the longest name that it starts with, so that a single
 * file can be held to more than its folder. `app/main.ts` and `app/worker.ts` put everything together and have no bound.
 */
const compositionRoot = ["app/main.ts", "app/worker.ts"];
const mayImport: Readonly<Record<string, readonly string[]>> = {
  "app/index.ts": ["app/engine", "app/http/token.ts", "app/http/user-env.ts", "db/connect.ts"],
  // The grammar of a store's URL belongs to the store; a setting is checked by it.
  "app/config": ["app/engine", "app/storage/open-store.ts"],
  "app/config.ts": ["app/config", "app/engine"],
  "app/quick-loading.ts": [],
  "app/agents": ["app/index.ts", "app/engine", "app/ai", "db/schema.ts"],
  "app/routes.ts": ["app/index.ts", "app/engine", "app/ai", "db/schema.ts"],
  "app/engine": [],
  "app/ai": ["app/engine"],
  "app/storage": ["app/engine", "db", "db/schema.ts"],
  "app/host": ["app/engine", "app/storage", "db/connect.ts"],
  "app/ui": [],
  // A process of its own: it looks into the store, and asks the app by HTTP.
  "app/waker": ["app/engine", "app/storage", "app/http/token.ts"],
  "app/http": ["app/engine", "app/host", "app/ui", "app/http/token.ts", "app/http/user-env.ts"],
  // What the user's routes get, as types: Drizzle on the tenant's file among it.
  "app/http/user-env.ts": ["app/engine", "app/http/token.ts", "db/connect.ts"],
  "app/http/token.ts": [],
  db: ["db/schema.ts"],
  "db/schema.ts": [],
};
const parts = Object.keys(mayImport).toSorted((a, b) => b.length - a.length);

test("every import keeps to the direction of the layers", () => {
  expect(modules().flatMap(forbiddenImports)).toEqual([]);
});

test("an import against the direction of the layers is found, in each of its forms", () => {
  const source = `
    import { page } from "../ui/page.ts";
    import type { Host } from "../host/host.ts";
    export { claim } from "../storage/claim.ts";
    const late = await import("../http/app.ts");
    new Worker(new URL("../storage/thread.ts", import.meta.url));
    import "../main.ts";
    // import { allowed } from "../../db/connect.ts";
    import { step } from "./step.ts";
    import { z } from "zod";
  `;
  expect(forbiddenImports({ path: "app/engine/made-up.ts", source })).toEqual([
    "app/engine/made-up.ts → app/ui/page.ts",
    "app/engine/made-up.ts → app/host/host.ts",
    "app/engine/made-up.ts → app/storage/claim.ts",
    "app/engine/made-up.ts → app/http/app.ts",
    "app/engine/made-up.ts → app/storage/thread.ts",
    "app/engine/made-up.ts → app/main.ts",
  ]);
  const agent = 'import { defineAgent } from "holdfast"; import { connect } from "../../db/connect.ts";';
  expect(forbiddenImports({ path: "app/agents/made-up.ts", source: agent })).toEqual([
    "app/agents/made-up.ts → db/connect.ts",
  ]);
});

test("every module belongs to a part of the table", () => {
  const strays = modules().filter(
    ({ path }) => !compositionRoot.includes(path) && partOf(path) === undefined,
  );
  expect(strays.map(({ path }) => path)).toEqual([]);
});

test("only the configuration and the composition root read the environment", () => {
  const readers = modules().filter(({ source }) =>
    /\bprocess\s*(\.|\?\.)\s*env\b|\benv\b[^;]*from "node:process"/.test(source),
  );
  expect(
    readers.map(({ path }) => path).filter((path) => !["app/config.ts", "app/main.ts"].includes(path)),
  ).toEqual([]);
});

test("the engine has no time and no chance but its clock's", () => {
  const own =
    /\bDate\.now\b|\bnew Date\(\)|\bMath\.random\b|\bset(Timeout|Interval)\b|\bperformance\.now\b|\brandomUUID\b/;
  const engine = modules().filter(
    ({ path }) => path.startsWith("app/engine/") && path !== "app/engine/clock.ts",
  );
  expect(engine.length).toBeGreaterThan(0);
  expect(engine.filter(({ source }) => own.test(source)).map(({ path }) => path)).toEqual([]);
});

interface Module {
  /** From the project's root, with slashes. */
  readonly path: string;
  /** Without comments. */
  readonly source: string;
}

function modules(): Module[] {
  const paths = globSync(["app/**/*.ts", "db/**/*.ts"], { cwd: root }).toSorted();
  return paths.map((path) => ({ path, source: withoutComments(readFileSync(join(root, path), "utf8")) }));
}

function forbiddenImports({ path, source }: Module): string[] {
  const part = partOf(path);
  if (part === undefined) return [];
  return importsOf(path, withoutComments(source))
    .filter((target) => !isAllowed(part, target))
    .map((target) => `${path} → ${target}`);
}

/** The modules of this project that a module names, in order. */
function importsOf(path: string, source: string): string[] {
  const statements = /(?:\bfrom|\bimport)\s*\(?\s*["']([^"']+)["']|\bnew URL\(\s*["'](\.[^"']+\.ts)["']/g;
  return [...source.matchAll(statements)].flatMap((match) => {
    const name = match[1] ?? match[2] ?? "";
    if (name === "holdfast") return ["app/index.ts"];
    return name.startsWith(".") ? [joinPosix(path, "..", name)] : [];
  });
}

function isAllowed(part: string, target: string): boolean {
  const targetPart = partOf(target);
  return [part, ...(mayImport[part] ?? [])].some((name) => name === targetPart || name === target);
}

function partOf(path: string): string | undefined {
  return parts.find((part) => path === part || path.startsWith(`${part}/`));
}

/** Strings are kept as they are, so that what looks like a comment inside one does not hide what follows. */
function withoutComments(source: string): string {
  const pattern = /("(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|`(?:\\.|[^`\\])*`)|\/\*[\s\S]*?\*\/|\/\/[^\n]*/g;
  return source.replace(pattern, (_match, text: string | undefined) => text ?? " ");
}
