import { expect, test } from "vitest";
import { ltxFiles, ltxTimestamp, reachableTxids } from "../../app/storage/ltx-files.ts";

function file(level: number, first: number, last: number): string {
  const [from, to] = [first, last].map((txid) => txid.toString(16).padStart(16, "0"));
  return `tenants/t/e1/ltx/${level}/${from}-${to}.ltx`;
}

interface Case {
  readonly what: string;
  readonly files: readonly string[];
  readonly reached: readonly number[];
}

const cases: readonly Case[] = [
  { what: "no files", files: [], reached: [] },
  { what: "a file a txid", files: [file(0, 1, 1), file(0, 2, 2), file(0, 3, 3)], reached: [1, 2, 3] },
  { what: "a gap", files: [file(0, 1, 1), file(0, 2, 2), file(0, 4, 4), file(0, 5, 5)], reached: [1, 2] },
  { what: "no beginning", files: [file(0, 2, 2), file(0, 3, 3)], reached: [] },
  {
    what: "a gap that a merged file spans",
    files: [file(0, 1, 1), file(1, 1, 3), file(0, 4, 4)],
    reached: [1, 3, 4],
  },
  {
    what: "files that lie over each other",
    files: [file(1, 1, 4), file(0, 3, 3), file(1, 3, 6)],
    reached: [4, 6],
  },
  {
    what: "a later snapshot behind a gap",
    files: [file(0, 1, 1), file(9, 1, 7), file(0, 8, 8)],
    reached: [1, 7, 8],
  },
  { what: "the same end twice", files: [file(0, 4, 5), file(9, 1, 5), file(0, 6, 6)], reached: [5, 6] },
  { what: "other objects", files: ["tenants/t/e1/something", file(0, 1, 1)], reached: [1] },
];

test.each(cases)("$what: txids up to which nothing is missing", ({ files, reached }) => {
  expect(reachableTxids(ltxFiles(files))).toEqual(reached);
});

test("what is no file of Litestream's has no time", () => {
  expect(ltxTimestamp(new Uint8Array(10))).toBe(null);
  expect(ltxTimestamp(Buffer.from(`SQLite format 3${"x".repeat(60)}`))).toBe(null);
});
