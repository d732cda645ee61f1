import { Buffer } from "node:buffer";

/** Longest key in bytes: S3 allows 1024 with the bucket's prefix, which gets what is left. */
const maxKeyBytes = 896;
const maxKeyPartBytes = 200;

/**
 * A key is a path of non-empty parts. What a file system or an XML listing could not carry is refused for every store, so
 * that a tenant can move from one to another. Throws a TypeError: keys are made by Holdfast, a wrong one is a mistake in it.
 */
export function checkObjectKey(key: string): void {
  checkText(key);
  if (Buffer.byteLength(key) > maxKeyBytes) refuse(key, `is longer than ${maxKeyBytes} bytes`);
  for (const part of key.split("/")) checkPart(key, part);
}

/** A prefix ends anywhere: at a "/", within a part, or before the first one. Throws a TypeError. */
export function checkKeyPrefix(prefix: string): void {
  checkText(prefix);
  for (const part of prefix.split("/").slice(0, -1)) checkPart(prefix, part);
}

/** In the order of the bytes of UTF-8, as S3 does; JavaScript's own order differs beyond the basic plane. */
export function sortKeys(keys: readonly string[]): string[] {
  return keys
    .map((key) => ({ key, bytes: Buffer.from(key) }))
    .toSorted((a, b) => Buffer.compare(a.bytes, b.bytes))
    .map(({ key }) => key);
}

function checkText(text: string): void {
  if (!text.isWellFormed()) refuse(text, "holds half a character");
  // oxlint-disable-next-line no-control-regex -- control characters are what is looked for.
  if (/[\u0000-\u001f\u007f\ufffe\uffff\\]/.test(text))
    refuse(text, "holds a control character or a backslash");
}

function checkPart(key: string, part: string): void {
  if (part === "") refuse(key, "has an empty part");
  if (part === "." || part === "..") refuse(key, `has the part "${part}"`);
  if (Buffer.byteLength(part) > maxKeyPartBytes)
    refuse(key, `has a part longer than ${maxKeyPartBytes} bytes`);
}

function refuse(key: string, why: string): never {
  throw new TypeError(`The object key ${JSON.stringify(key)} ${why}.`);
}
