import { expect, test } from "vitest";
import { parseDuration } from "../../app/engine/duration.ts";

test.each([
  ["15s", 15_000],
  ["3 days", 259_200_000],
  [" 1h ", 3_600_000],
  ["250", 250],
  [1.2, 2],
  [0, 0],
  ["10 years", 315_576_000_000],
])("%j is %i ms", (duration, expectedMs) => {
  expect(parseDuration(duration, "timeout")).toBe(expectedMs);
});

test.each([
  "",
  " ",
  "soon",
  "1 fortnight",
  "-1s",
  -1,
  Number.NaN,
  Number.POSITIVE_INFINITY,
  "11 years",
  "9".repeat(400),
])("%j is refused by an error that names the setting", (duration) => {
  expect(() => parseDuration(duration, "timeout")).toThrow(/^timeout must /);
});
