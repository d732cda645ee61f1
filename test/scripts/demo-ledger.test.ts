import { expect, test } from "vitest";

import { belowPrefix } from "../../scripts/demo/demo-folder.ts";
import { brokenPromises, drawUp } from "../../scripts/demo/ledger.ts";
import { progressOf } from "../../scripts/demo/progress.ts";
import { excerpt } from "../../scripts/demo/report.ts";
import type { HistoryRow } from "../../scripts/demo/runs-client.ts";

const row = (seq: number, at: number, name = `step ${seq}`, data: unknown = null): HistoryRow => ({
  run: "r",
  seq,
  at: new Date(at).toISOString(),
  kind: "step.completed",
  path: "",
  name,
  occurrence: 0,
  data,
});
/** The same as a row of a child. */
const ofChild = (child: string, one: HistoryRow): HistoryRow => ({ ...one, run: child });
const times = { killedAt: 100, askedAgainAt: 200 };

test("a row that is gone, or not what an answer had shown, counts as lost", () => {
  const before = [row(1, 1), row(2, 2), row(3, 3)];
  const after = [row(1, 1), row(2, 2, "step 2", "changed"), row(4, 150)];
  const ledger = drawUp(before, after, times);
  expect(ledger.lost.map(({ seq }) => seq)).toEqual([2, 3]);
  expect(brokenPromises(ledger)[0]).toContain("2 acknowledged writes");
});

test("what was durable without being acknowledged is replayed and no loss", () => {
  const ledger = drawUp([row(1, 1)], [row(1, 1), row(2, 2), row(3, 150), row(4, 250)], times);
  expect(ledger).toMatchObject({ acknowledgedSteps: 1, replayedSteps: 2, stepsAlone: 1, pauseMs: 50 });
  expect(ledger.cutOff.map(({ seq }) => seq)).toEqual([3]);
  expect(brokenPromises(ledger)).toEqual([]);
});

test("a step that is recorded twice is a broken promise", () => {
  const ledger = drawUp([row(1, 1, "a")], [row(1, 1, "a"), row(2, 150, "a")], times);
  expect(brokenPromises(ledger)).toEqual(["steps were recorded twice: a"]);
});

test("a row of a child counts like one of the run itself, and is told from it", () => {
  const before = [row(1, 1), ofChild("c", row(1, 2)), ofChild("c", row(2, 3))];
  const ledger = drawUp(before, [row(1, 1), ofChild("c", row(1, 2)), row(2, 150)], times);
  expect(ledger.lost.map(({ run, seq }) => [run, seq])).toEqual([["c", 2]]);
  expect(drawUp([row(1, 1, "a")], [row(1, 1, "a"), ofChild("c", row(1, 150, "a"))], times).repeated).toEqual(
    [],
  );
});

test("the kill cut off a step of each run that was alive, not of one that waited for a child or had ended", () => {
  const started = (seq: number, runId: string): HistoryRow => ({
    ...row(seq, seq),
    kind: "child.started",
    data: { runId },
  });
  const ended = (child: string): HistoryRow => ofChild(child, { ...row(9, 50), kind: "run.completed" });
  const before = ["b", "c", "d"].map((child, index) => started(index + 1, child));
  const children = ["b", "c", "d"].map((child) => ofChild(child, row(1, 10)));
  const late = [ofChild("c", row(2, 150)), ofChild("d", row(2, 160)), ofChild("c", row(3, 170)), row(4, 180)];
  const ledger = drawUp([...before, ...children], [...before, ...children, ended("b"), ...late], times);
  expect(ledger.cutOff.map(({ run, seq }) => [run, seq])).toEqual([
    ["c", 2],
    ["d", 2],
  ]);
});

test("a demo that proved nothing does not pass", () => {
  expect(brokenPromises(drawUp([], [row(1, 150)], times))).toContain(
    "no step was acknowledged before the kill: nothing was proved",
  );
});

test("the total is known from the list, less what skipped documents need not", () => {
  const list = row(1, 1, "list", { documents: [{}, {}], leftOut: 0 });
  expect(progressOf([])).toEqual({ done: 0, total: undefined });
  expect(progressOf([list])).toEqual({ done: 1, total: 7 });
  expect(progressOf([list, row(2, 2, "read a", { kind: "skipped", why: "x" })])).toEqual({
    done: 2,
    total: 5,
  });
});

test("on S3 each demo has a prefix of its own, and options of the URL stay", () => {
  expect(belowPrefix("s3://bucket/a/?endpoint=http://x&region=r", "demo-1")).toBe(
    "s3://bucket/a/demo-1?endpoint=http://x&region=r",
  );
  expect(belowPrefix("s3://bucket", "demo-1")).toBe("s3://bucket/demo-1");
  expect(() => belowPrefix("file:/tmp", "demo-1")).toThrow("--store");
});

test("the excerpt leaves out the table of contents only", () => {
  const shown = excerpt("# Digest\n\n## Contents\n\n- [a](#a)\n\n## a\n\nText.\n", 40);
  expect(shown).not.toContain("#a");
  expect(shown).toContain("## a");
});
