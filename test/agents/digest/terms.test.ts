import { expect, test } from "vitest";

import {
  commonTerms,
  documentFrequencies,
  inverseFrequency,
  termsOf,
  weighTerms,
} from "../../../app/agents/digest/terms.ts";

test("terms are lower-case content words with their plurals cut, without code and addresses", () => {
  expect(
    termsOf("The Libraries' classes parse `code` files and CommonJS, see https://example.org by @someone."),
  ).toEqual(["library", "class", "parse", "file", "commonjs"]);
});

test("a term of few documents weighs more than one of all", () => {
  const frequencies = documentFrequencies([["stream", "parser"], ["stream"], ["stream", "lexer"]]);
  expect(inverseFrequency("stream", frequencies)).toBe(1);
  expect(inverseFrequency("parser", frequencies)).toBeGreaterThan(1);
  expect(weighTerms(["stream", "parser"], frequencies).map(({ term }) => term)).toEqual(["parser", "stream"]);
});

test("equal weights are ordered by name, whatever order the terms came in", () => {
  const frequencies = documentFrequencies([["b", "a", "c"]]);
  expect(weighTerms(["c", "b", "a"], frequencies).map(({ term }) => term)).toEqual(["a", "b", "c"]);
});

test("what only one document speaks of is not common", () => {
  const documents = [["stream", "zod", "zod"], ["stream"]];
  expect(commonTerms(documents, documentFrequencies(documents)).map(({ term }) => term)).toEqual(["stream"]);
});
