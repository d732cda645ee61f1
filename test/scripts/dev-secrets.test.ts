import { chmod, mkdtemp, readdir, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { afterEach, beforeEach, expect, test } from "vitest";

import { loadSecrets } from "../../scripts/dev/secrets.ts";

let folder: string;
let file: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "holdfast-secrets-"));
  file = join(folder, "deep/secrets.json");
});

afterEach(async () => {
  await rm(folder, { recursive: true, force: true });
});

test("secrets are made once, long enough, and for their owner only", async () => {
  const made = await loadSecrets(file);
  expect(Buffer.byteLength(made.tokenSecret)).toBeGreaterThanOrEqual(32);
  expect(Buffer.from(made.masterKey, "base64")).toHaveLength(32);
  expect((await stat(file)).mode & 0o777).toBe(0o600);
  expect(await loadSecrets(file)).toEqual(made);
  expect(await readdir(join(folder, "deep"))).toEqual(["secrets.json"]);
});

test("processes that start together agree on the secrets", async () => {
  const all = await Promise.all(Array.from({ length: 8 }, () => loadSecrets(file)));
  for (const secrets of all) expect(secrets).toEqual(all[0]);
});

test("a file that others could read is closed to them again", async () => {
  await loadSecrets(file);
  await chmod(file, 0o644);
  await loadSecrets(file);
  expect((await stat(file)).mode & 0o777).toBe(0o600);
});

test("a broken file is never replaced, since what it sealed would be lost", async () => {
  await loadSecrets(file);
  await writeFile(file, "{");
  await expect(loadSecrets(file)).rejects.toThrow(file);
});
