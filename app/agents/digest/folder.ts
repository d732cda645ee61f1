import { createHash } from "node:crypto";
import { constants } from "node:fs";
import { type FileHandle, open, opendir, realpath, stat } from "node:fs/promises";
import { basename, join, relative, sep } from "node:path";

import { NonRetryableError } from "holdfast";

import { documentNameProblem } from "./document-name.ts";

export interface ListedDocument {
  /** Path below the folder, with "/" between its parts. */
  readonly name: string;
  readonly bytes: number;
}

export interface FolderBounds {
  /** Documents beyond this many are left out. */
  readonly maxDocuments: number;
  /** Directory entries that are looked at before the walk gives up. */
  readonly maxEntries: number;
  readonly maxDepth: number;
}

/**
 * The documents below `folder` by name. Hidden entries, symlinks and nested `node_modules` are passed over; if the folder
 * is itself a `node_modules`, its documents are the READMEs of the packages in it.
 * Throws NonRetryableError if there is no such folder, or none in it.
 */
export async function listDocuments(
  folder: string,
  bounds: FolderBounds,
): Promise<{ readonly documents: readonly ListedDocument[]; readonly leftOut: number }> {
  const names = await walk(await rootOf(folder), bounds);
  if (names.length === 0)
    throw new NonRetryableError("There are no documents in the worker's folder (DIGEST_DIR).");
  const documents: ListedDocument[] = [];
  for (const name of names.slice(0, bounds.maxDocuments)) {
    documents.push({ name, bytes: (await stat(join(folder, name))).size });
  }
  return { documents, leftOut: names.length - documents.length };
}

/** The named documents in the order given. Throws NonRetryableError if one is missing or leads out of the folder. */
export async function findDocuments(
  folder: string,
  names: readonly string[],
): Promise<readonly ListedDocument[]> {
  const root = await rootOf(folder);
  const documents: ListedDocument[] = [];
  for (const name of names) {
    const file = await stat(await locate(root, name));
    if (!file.isFile()) throw new NonRetryableError(`"${name}" is no file.`);
    documents.push({ name, bytes: file.size });
  }
  return documents;
}

export type Contents =
  | {
      readonly kind: "text";
      /** Of the part that was read. */
      readonly sha256: string;
      readonly text: string;
      readonly cut: boolean;
    }
  | { readonly kind: "skipped"; readonly why: string };

/** The first `maxBytes` of a document, up to the last whole line. Throws NonRetryableError as findDocuments does. */
export async function readDocument(folder: string, name: string, maxBytes: number): Promise<Contents> {
  const path = await locate(await rootOf(folder), name);
  // A pipe that took the document's place would hold an ordinary open for ever.
  const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    if (!(await file.stat()).isFile()) return { kind: "skipped", why: "it is no file" };
    const bytes = await readStart(file, maxBytes + 1);
    const cut = bytes.length > maxBytes;
    const kept = cut ? wholeLines(bytes.subarray(0, maxBytes)) : bytes;
    if (isBinary(kept)) return { kind: "skipped", why: "it is not text" };
    const sha256 = createHash("sha256").update(kept).digest("hex");
    return { kind: "text", sha256, text: kept.toString("utf8"), cut };
  } finally {
    await file.close();
  }
}

async function rootOf(folder: string): Promise<string> {
  try {
    return await realpath(folder);
  } catch {
    // The message of the file system would tell a tenant where the worker keeps its files.
    throw new NonRetryableError("The worker's folder of documents (DIGEST_DIR) does not exist.");
  }
}

async function walk(root: string, bounds: FolderBounds): Promise<readonly string[]> {
  const accepts = basename(root) === "node_modules" ? isPackageReadme : () => true;
  const found: string[] = [];
  const folders = [""];
  let entriesLeft = bounds.maxEntries;
  for (let prefix = folders.pop(); prefix !== undefined; prefix = folders.pop()) {
    const depth = prefix.split("/").length;
    for await (const entry of await opendir(join(root, prefix))) {
      if (entriesLeft-- <= 0) {
        throw new NonRetryableError(
          `The worker's folder of documents (DIGEST_DIR) has more than ${bounds.maxEntries} entries: choose a smaller one.`,
        );
      }
      const name = prefix + entry.name;
      if (entry.isDirectory() && depth < bounds.maxDepth && goesInto(root, name)) folders.push(`${name}/`);
      else if (entry.isFile() && documentNameProblem(name) === undefined && accepts(name)) found.push(name);
    }
  }
  return found.toSorted((one, other) => (one < other ? -1 : 1));
}

function goesInto(root: string, name: string): boolean {
  const parts = name.split("/");
  const last = parts.at(-1) ?? "";
  if (last.startsWith(".") || last === "node_modules") return false;
  // What lies below a package's own folder is its inside, tens of thousands of files in all.
  return (
    basename(root) !== "node_modules" || parts.length === 1 || (parts.length === 2 && name.startsWith("@"))
  );
}

function isPackageReadme(name: string): boolean {
  return /^(?:@[^/]+\/)?[^/]+\/readme\.[a-z]+$/i.test(name);
}

async function locate(root: string, name: string): Promise<string> {
  const problem = documentNameProblem(name);
  if (problem !== undefined) throw new NonRetryableError(`The document name "${name}" ${problem}.`);
  let path: string;
  try {
    path = await realpath(join(root, name));
  } catch {
    throw new NonRetryableError(`There is no document "${name}" in the worker's folder.`);
  }
  // The target must itself be what a name may name, or a symlink could show a hidden file.
  if (
    !path.startsWith(root + sep) ||
    documentNameProblem(relative(root, path).replaceAll(sep, "/")) !== undefined
  ) {
    throw new NonRetryableError(`The document "${name}" leads out of the worker's folder by a symlink.`);
  }
  return path;
}

async function readStart(file: FileHandle, maxBytes: number): Promise<Buffer> {
  const buffer = Buffer.alloc(maxBytes);
  let filled = 0;
  while (filled < maxBytes) {
    const { bytesRead } = await file.read(buffer, filled, maxBytes - filled, filled);
    if (bytesRead === 0) break;
    filled += bytesRead;
  }
  return buffer.subarray(0, filled);
}

function wholeLines(bytes: Buffer): Buffer {
  const end = bytes.lastIndexOf(0x0a);
  return end === -1 ? bytes : bytes.subarray(0, end + 1);
}

/** A NUL byte is in no text; text in another encoding than UTF-8 would only show as replacement characters. */
function isBinary(bytes: Buffer): boolean {
  if (bytes.includes(0)) return true;
  const decoded = bytes.toString("utf8");
  const broken = decoded.split("\uFFFD").length - 1;
  return broken > 3 && broken > decoded.length / 100;
}
