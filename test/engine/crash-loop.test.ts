import { expect, test } from "vitest";
import { crashesWithoutProgress } from "../../app/engine/crash-loop.ts";

test.each([
  { seqs: [], lastSeq: 4, crashes: 0, what: "a run that never crashed" },
  { seqs: [4], lastSeq: 4, crashes: 1, what: "a first crash" },
  { seqs: [4, 4, 4], lastSeq: 4, crashes: 3, what: "crashes at the same row" },
  { seqs: [4, 4, 4], lastSeq: 5, crashes: 0, what: "a row after the last crash" },
  { seqs: [2, 3, 4], lastSeq: 4, crashes: 1, what: "a row between each crash and the next" },
  { seqs: [2, 2, 4, 4], lastSeq: 4, crashes: 2, what: "a row after the second of four crashes" },
  { seqs: [4, 4, 4], lastSeq: 2, crashes: 3, what: "rows that were lost with the disk" },
  { seqs: [5, 4, 4], lastSeq: 4, crashes: 3, what: "a crash that had come further than those after it" },
  { seqs: [0, 0], lastSeq: 0, crashes: 2, what: "crashes before the first row" },
])("$what: $crashes without progress", ({ seqs, lastSeq, crashes }) => {
  expect(crashesWithoutProgress(seqs, lastSeq)).toBe(crashes);
});
