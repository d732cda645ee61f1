import { expect, test } from "vitest";

import { documentNameProblem } from "../../../app/agents/digest/document-name.ts";

test.each(["README.md", "@hono/node-server/README.md", "a b/Ünï.TXT", "notes..md"])(
  "%j names a document",
  (name) => {
    expect(documentNameProblem(name)).toBeUndefined();
  },
);

test.each([
  "",
  "/etc/passwd.txt",
  "C:/notes.md",
  "../notes.md",
  "a/../../notes.md",
  "a//b.md",
  "./a.md",
  "a\\b.md",
  "a\0.md",
  ".holdfast/notes.md",
  "data/tenant.db",
  "README",
  `${"a".repeat(300)}.md`,
])("%j names none", (name) => {
  expect(documentNameProblem(name)).toEqual(expect.any(String));
});
