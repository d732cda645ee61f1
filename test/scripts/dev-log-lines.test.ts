import { expect, test } from "vitest";
import { logLines } from "../../scripts/dev/log-lines.ts";

const facts = { level: 40, time: 1_700_000_000_000, run: "r-1", agent: "order" };
const mismatch = JSON.stringify({
  ...facts,
  msg: `The agent's code no longer matches the run's history: the code asks for step "hold", history has step "reserve" (step.completed at row 2), which the code did not ask for.`,
});

test.each([true, false])("a mismatch stands out and tells what to do (pretty: %s)", (pretty) => {
  const printed = logLines({ pretty })(mismatch);
  expect(printed.split("\n").filter((line) => line !== "")).toEqual([
    expect.stringContaining("━━━"),
    "A RUN WAS PAUSED: its history and the code of agent order do not agree.",
    '  · the code asks for step "hold"',
    '  · history has step "reserve" (step.completed at row 2), which the code did not ask for.',
    "Make the code ask for what history has, then let the run go on:",
    "  POST /v1/runs/r-1/resume",
    expect.stringContaining("━━━"),
  ]);
});

test("other lines of the log are readable in a terminal, and as they are elsewhere", () => {
  const line = JSON.stringify({ ...facts, event: "listening", port: 8080, msg: "listening" });
  expect(logLines({ pretty: false })(line)).toBe(`${line}\n`);
  const printed = logLines({ pretty: true })(line);
  expect(printed).toContain("listening");
  expect(printed).toContain('"port":8080');
  expect(printed).not.toContain('"event"');
  expect(printed.endsWith("\n")).toBe(true);
});

test.each(["no JSON at all", "{ broken", ""])(
  "what is no line of the log is printed as it is: %j",
  (line) => {
    expect(logLines({ pretty: true })(line)).toBe(`${line}\n`);
  },
);
