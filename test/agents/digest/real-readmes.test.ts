import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";

import { describe, expect, test } from "vitest";

import { readBlocks } from "../../../app/agents/digest/blocks.ts";
import { withoutBoilerplate } from "../../../app/agents/digest/boilerplate.ts";
import { compose, type Entry } from "../../../app/agents/digest/compose.ts";
import { keySentences } from "../../../app/agents/digest/key-sentences.ts";
import { outlineOf } from "../../../app/agents/digest/outline.ts";
import { isTagline, isWholeSentence } from "../../../app/agents/digest/sentences.ts";
import { documentFrequencies, termsOf } from "../../../app/agents/digest/terms.ts";

const modules = join(import.meta.dirname, "../../../node_modules");
const packages = [
  "hono",
  "zod",
  "drizzle-orm",
  "pino",
  "prom-client",
  "fast-check",
  "vitest",
  "typescript",
  "magic-string",
  "ms",
  "@hono/node-server",
  "aws4fetch",
];

const documents = packages
  .map((name) => `${name}/README.md`)
  .filter((name) => existsSync(join(modules, name)))
  .map((name) => {
    const text = readFileSync(join(modules, name), "utf8");
    const blocks = withoutBoilerplate(readBlocks(text));
    return { name, text, blocks, outline: outlineOf(name, blocks) };
  });
const frequencies = documentFrequencies(
  documents.map(({ blocks }) => blocks.flatMap(({ text }) => termsOf(text))),
);
const quote = (document: (typeof documents)[number]): readonly string[] =>
  keySentences(document.blocks, frequencies, { title: document.outline.title, count: 3 });

test("there are READMEs to try it on", () => {
  expect(documents.length).toBeGreaterThan(8);
});

describe.each(documents)("$name", (document) => {
  test("one to three whole sentences are quoted, without markup", () => {
    const sentences = quote(document);
    expect(sentences.length).toBeGreaterThanOrEqual(1);
    expect(sentences.length).toBeLessThanOrEqual(3);
    for (const sentence of sentences) {
      expect(isWholeSentence(sentence) || isTagline(sentence), sentence).toBe(true);
      expect(sentence).not.toMatch(/\]\(|!\[|<\/?(?:a|img|p|div|br)\b|shields\.io|```|&[a-z]+;/);
      expect(sentence).not.toMatch(/copyright|permission is hereby|licensed under/i);
    }
  });

  test("each quotation stands in the source, word for word", () => {
    const plain = (text: string): string => text.replace(/[^\p{L}\p{N}]+/gu, "");
    const withoutLinks = document.text.replace(/\]\([^)]*\)|\]\[[^\]]*\]|<[^<>]*>/g, "");
    for (const sentence of quote(document)) expect(plain(withoutLinks)).toContain(plain(sentence));
  });

  test("the title is the package, and headings carry no markup", () => {
    expect(`${document.outline.title}/README.md`).toBe(document.name);
    for (const heading of document.outline.headings)
      expect(heading).not.toMatch(/\]\(|<[a-z]+ |^#|licen[cs]e/i);
  });
});

test("the same texts give the same digest, byte for byte", () => {
  const make = (): string => {
    const entries: Entry[] = documents.map((document) => ({
      name: document.name,
      bytes: document.text.length,
      sha256: "0".repeat(64),
      cut: false,
      outline: document.outline,
      terms: [],
      sentences: quote(document),
    }));
    return compose({ entries, skipped: [], leftOut: 0, topTerms: [] });
  };
  expect(make()).toBe(make());
});

test("a project is described by what its README says first", () => {
  const hono = documents.find(({ name }) => name === "hono/README.md");
  expect(hono && quote(hono)[0]).toMatch(/small, simple, and ultrafast web framework/);
});
