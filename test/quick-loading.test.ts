import { existsSync, globSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { expect, test } from "vitest";
import { resolveInside } from "../app/quick-loading.ts";

const modules = fileURLToPath(new URL("../node_modules", import.meta.url));

test.each(["drizzle-orm/**/*.js", "zod/**/*.js", "hono/dist/**/*.js", "../app/**/*.ts", "../db/**/*.ts"])(
  "in %s every import that is resolved without Node names a file, in a package of ES modules",
  (files) => {
    let resolved = 0;
    for (const file of globSync(files, { cwd: modules })) {
      const importer = join(modules, file);
      const imports = readFileSync(importer, "utf8").matchAll(
        /^\s*(?:import|export)[^"'`;]*["'](\.[^"']+)["']/gm,
      );
      for (const [, specifier = ""] of imports) {
        const found = resolveInside(specifier, pathToFileURL(importer).href);
        if (found === null) continue;
        resolved += 1;
        const path = fileURLToPath(found.url);
        expect(kindOf(dirname(path)), `${specifier} in ${file}`).toBe("module");
        expect(existsSync(path), `${specifier} in ${file}`).toBe(true);
      }
    }
    expect(resolved).toBeGreaterThan(5);
  },
);

test("all other imports are resolved by Node", () => {
  const drizzle = pathToFileURL(join(modules, "drizzle-orm/index.js")).href;
  const others: readonly (readonly [string, string | undefined])[] = [
    ["./index.js", undefined],
    ["../../db/schema.ts", pathToFileURL(join(modules, "../app/agents/refund.ts")).href],
    ["./refunds.ts", pathToFileURL(join(modules, "../db/schema.ts")).href],
    ["./page.css", pathToFileURL(join(modules, "../app/ui/page.ts")).href],
    ["./errors.js", pathToFileURL(join(modules, "pino/pino.js")).href],
    ["./hono.js", pathToFileURL(join(modules, "hono/dist/cjs/index.js")).href],
    ["node:crypto", drizzle],
    ["drizzle-orm/sqlite-core", drizzle],
    ["./index", drizzle],
    ["../pino/pino.js", drizzle],
  ];
  for (const [specifier, importer] of others) expect(resolveInside(specifier, importer)).toBe(null);
});

const kinds = new Map<string, unknown>();

/** As the nearest package.json says. */
function kindOf(folder: string): unknown {
  if (kinds.has(folder)) return kinds.get(folder);
  const path = join(folder, "package.json");
  const kind = existsSync(path) ? JSON.parse(readFileSync(path, "utf8")).type : kindOf(dirname(folder));
  kinds.set(folder, kind);
  return kind;
}
