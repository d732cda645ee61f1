import { expect, test } from "vitest";

import { isTagline, isWholeSentence, splitSentences } from "../../../app/agents/digest/sentences.ts";

test("sentences are split at their ends, not at abbreviations, in code or in parentheses", () => {
  const text =
    "It runs everywhere, e.g. Deno, Bun etc. and browsers. Use `a. B` (see the guide. It helps) for Node.js 24. Done!";
  expect(splitSentences(text)).toEqual([
    "It runs everywhere, e.g. Deno, Bun etc. and browsers.",
    "Use `a. B` (see the guide. It helps) for Node.js 24.",
    "Done!",
  ]);
});

test.each([
  ["Hono is a small web framework.", true],
  ["`split2` breaks a stream into lines.", true],
  ["Hono is a small web framework", false],
  ["Here is how you would use it:", false],
  ["To be continued in the next part...", false],
  ["Too short.", false],
  ["Read all about it at https://example.org today.", false],
  ["An opening (that never closes is torn.", false],
  ["Use `const a = await something.very({ long: true })` or else.", false],
  [`${"word ".repeat(60)}end.`, false],
])("%j is a whole sentence: %j", (text, expected) => {
  expect(isWholeSentence(text)).toBe(expected);
});

test.each([
  ["Next generation testing framework powered by Vite", true],
  ["Docs • Guide • Discord • Blog", false],
  ["Install it with the command:", false],
  ["It has two sentences. This is one of them", false],
  ["Fast", false],
])("%j is a tagline: %j", (text, expected) => {
  expect(isTagline(text)).toBe(expected);
});
