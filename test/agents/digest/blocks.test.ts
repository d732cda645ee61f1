import { expect, test } from "vitest";

import { readBlocks } from "../../../app/agents/digest/blocks.ts";

const texts = (markdown: string): string[] => readBlocks(markdown).map(({ text }) => text);

test("a paragraph's lines are joined, and its links, emphasis and images are reduced to words", () => {
  const markdown =
    "A **fast**, _small_\n[client](https://example.org/a_(b) 'title') for `fetch`. ![badge](x.svg) [![b](c)](d)\n";
  expect(texts(markdown)).toEqual(["A fast, small client for `fetch`."]);
});

test("code is left out, fenced, indented or in a list, even if its fence is never closed", () => {
  const markdown = [
    "Before.",
    "",
    "```js",
    "const a = `x`; // not prose.",
    "~~~",
    "```",
    "",
    "    indented code.",
    "",
    "- An item.",
    "  ```sh",
    "  npm install",
    "  ```",
    "- Another.",
    "",
    "  More of it.",
    "",
    "After.",
    "~~~",
    "never closed.",
  ];
  expect(texts(markdown.join("\n"))).toEqual(["Before.", "An item.", "Another.", "More of it.", "After."]);
});

test("tables, reference definitions, front matter, comments and rules are left out", () => {
  const markdown =
    "---\ntitle: x\n---\nOne.\n\nname | value\n--- | ---\na | b\n\n| c | d |\n|---|---|\n\n<!-- two\n\nlines -->\n\n[ref]: https://example.org\n\n* * *\n\nTwo.";
  expect(texts(markdown)).toEqual(["One.", "Two."]);
});

test("headings are found in all their spellings, with their levels", () => {
  const markdown =
    '<h1 align="center">\n  <a href="x"><img src="y"></a>\n  The Title\n</h1>\n\nOne\n===\n\nTwo\n---\n\n### Three `x` ###\n\n## [Four](#four) {#id}\n';
  expect(readBlocks(markdown)).toEqual([
    { kind: "heading", level: 1, text: "The Title" },
    { kind: "heading", level: 1, text: "One" },
    { kind: "heading", level: 2, text: "Two" },
    { kind: "heading", level: 3, text: "Three `x`" },
    { kind: "heading", level: 2, text: "Four" },
  ]);
});

test("HTML is reduced to its words, and what only looks like it stays", () => {
  const markdown =
    '<p align="center">\n    <em>Small &amp; fast.</em><br/>\n    By us.\n</p>\n\nReturns a Promise<string> in `<b>`.\n\n<table><tr><td>cell</td></tr></table>\n\n<ul><li>First.</li><li>Second.</li></ul>';
  expect(readBlocks(markdown)).toEqual([
    { kind: "paragraph", text: "Small & fast." },
    { kind: "paragraph", text: "By us." },
    { kind: "paragraph", text: "Returns a Promise<string> in `<b>`." },
    { kind: "item", text: "First." },
    { kind: "item", text: "Second." },
  ]);
});

test("quotes, task lists, emoji, escapes and hard breaks read as words", () => {
  const markdown = "> [!NOTE]\n> Mind \\*this\\*. :rocket:\n\n- [x] 🚀 Done it.\n\nOne  \nTwo\n";
  expect(texts(markdown)).toEqual(["Mind *this*.", "Done it.", "One", "Two"]);
});

test("hostile text takes no more than linear time", () => {
  const hostile = [
    "[",
    "[](",
    "<a ",
    "<!--",
    "*",
    "**a",
    "`",
    "(",
    "![",
    "_a",
    "&#",
    "<h1",
    "> ",
    "- ",
    "|-",
  ];
  for (const piece of hostile) {
    const text = piece.repeat(Math.ceil((256 * 1024) / piece.length));
    expect(() => readBlocks(text)).not.toThrow();
    expect(() => readBlocks(text.replace(/(.{4000})/g, "$1\n"))).not.toThrow();
  }
}, 60_000);
