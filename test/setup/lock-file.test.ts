import { readFileSync } from "node:fs";
import { dirname } from "node:path/posix";
import { expect, test } from "vitest";

interface LockedPackage {
  readonly version?: string;
  readonly integrity?: string;
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
}

const lockFile = JSON.parse(readFileSync(new URL("../../package-lock.json", import.meta.url), "utf8")) as {
  readonly packages: Readonly<Record<string, LockedPackage>>;
};
const packages = Object.entries(lockFile.packages);

test("the lock file holds the packages of every platform, without which npm ci refuses it", () => {
  // npm leaves an optional package out silently when the registry does not have it yet.
  const missing = packages.flatMap(([path, { dependencies, optionalDependencies }]) =>
    Object.keys({ ...dependencies, ...optionalDependencies })
      .filter((name) => !isLocked(name, path))
      .map((name) => `${name}, which ${path || "package.json"} asks for`),
  );
  expect(missing).toEqual([]);
});

test("every locked package is pinned by its hash", () => {
  expect(packages.filter(([path, locked]) => path !== "" && !locked.integrity).map(([path]) => path)).toEqual(
    [],
  );
});

/** Whether Node would find the package from that place: beside it, or in a node_modules further up. */
function isLocked(name: string, from: string): boolean {
  for (let folder = from; ; folder = dirname(folder)) {
    const path = folder === "" || folder === "." ? `node_modules/${name}` : `${folder}/node_modules/${name}`;
    if (lockFile.packages[path] !== undefined) return true;
    if (folder === "" || folder === ".") return false;
  }
}
