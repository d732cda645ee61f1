import { mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

import { afterEach, beforeEach, expect, test } from "vitest";

import { findDocuments, listDocuments, readDocument } from "../../../app/agents/digest/folder.ts";

const bounds = { maxDocuments: 10, maxEntries: 100, maxDepth: 4 };
let root: string;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "holdfast-digest-"));
});

afterEach(async () => {
  await rm(root, { recursive: true, force: true });
});

async function put(name: string, contents: string | Buffer = "Text.\n"): Promise<void> {
  await mkdir(dirname(join(root, name)), { recursive: true });
  await writeFile(join(root, name), contents);
}

test("documents are listed by name, without hidden ones, symlinks and what is no document", async () => {
  await put("b.md", "12345");
  await put("a/z.txt");
  await put("a/.secret.md");
  await put(".git/x.md");
  await put("a/data.db");
  await put("node_modules/x/README.md");
  await symlink(join(root, "b.md"), join(root, "link.md"));
  const { documents, leftOut } = await listDocuments(root, bounds);
  expect(documents).toEqual([
    { name: "a/z.txt", bytes: 6 },
    { name: "b.md", bytes: 5 },
  ]);
  expect(leftOut).toBe(0);
});

test("in node_modules the documents are the packages' own READMEs", async () => {
  for (const name of [
    "x/README.md",
    "x/CHANGELOG.md",
    "x/docs/README.md",
    "@s/y/readme.md",
    "x/node_modules/z/README.md",
  ]) {
    await put(`node_modules/${name}`);
  }
  const { documents } = await listDocuments(join(root, "node_modules"), bounds);
  expect(documents.map(({ name }) => name)).toEqual(["@s/y/readme.md", "x/README.md"]);
});

test("more documents than the bound are counted, not read, and endless folders are refused", async () => {
  for (let index = 0; index < 12; index += 1) await put(`${index}.md`);
  expect((await listDocuments(root, bounds)).leftOut).toBe(2);
  await expect(listDocuments(root, { ...bounds, maxEntries: 5 })).rejects.toThrow("DIGEST_DIR");
});

test("a folder that is missing or empty is refused without telling where it is", async () => {
  await expect(listDocuments(join(root, "missing"), bounds)).rejects.toThrow(/does not exist\.$/);
  await expect(listDocuments(root, bounds)).rejects.toThrow(/no documents/);
});

test("a named document must be in the folder, wherever its symlinks lead", async () => {
  await put("inside/a.md");
  await put("inside/.hidden/key.txt");
  await put("outside.md");
  const inside = join(root, "inside");
  await symlink(join(root, "outside.md"), join(inside, "out.md"));
  await symlink(join(inside, ".hidden/key.txt"), join(inside, "key.txt"));
  await symlink(join(inside, "a.md"), join(inside, "same.md"));
  await expect(findDocuments(inside, ["a.md", "same.md"])).resolves.toHaveLength(2);
  for (const [name, why] of [
    ["out.md", /symlink/],
    ["key.txt", /symlink/],
    ["../outside.md", /\.\./],
    ["gone.md", /no document/],
  ] as const) {
    await expect(findDocuments(inside, [name])).rejects.toThrow(why);
    await expect(readDocument(inside, name, 100)).rejects.toMatchObject({ name: "NonRetryableError" });
  }
});

test("a large document is cut after its last whole line", async () => {
  await put("large.md", "0123456789\n".repeat(100));
  const read = await readDocument(root, "large.md", 25);
  expect(read).toMatchObject({ kind: "text", text: "0123456789\n0123456789\n", cut: true });
  await put("exact.md", "0123456789");
  expect(await readDocument(root, "exact.md", 10)).toMatchObject({ text: "0123456789", cut: false });
});

test("what is not text is skipped with a reason", async () => {
  await put("binary.md", Buffer.from([1, 0, 2]));
  await put("latin.txt", Buffer.from("é".repeat(50), "latin1"));
  expect(await readDocument(root, "binary.md", 100)).toEqual({ kind: "skipped", why: "it is not text" });
  expect(await readDocument(root, "latin.txt", 100)).toMatchObject({ kind: "skipped" });
});
