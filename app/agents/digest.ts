import { defineAgent } from "holdfast";
import { z } from "zod";

import { type Block, readBlocks } from "./digest/blocks.ts";
import { withoutBoilerplate } from "./digest/boilerplate.ts";
import { compose, type Entry } from "./digest/compose.ts";
import { documentNameProblem } from "./digest/document-name.ts";
import { findDocuments, listDocuments, readDocument } from "./digest/folder.ts";
import { keySentences } from "./digest/key-sentences.ts";
import { type Outline, outlineOf } from "./digest/outline.ts";
import { digestFolder } from "./digest/settings.ts";
import { commonTerms, documentFrequencies, termsOf, weighTerms } from "./digest/terms.ts";

const maxDocuments = 200;
/** What a document's file may bring in, and what of it is recorded: history is kept as long as the run. */
const maxReadBytes = 256 * 1024;
const maxKeptLength = 32 * 1024;

const folderBounds = { maxDocuments, maxEntries: 50_000, maxDepth: 8 };

const documentName = z.string().check((context) => {
  const problem = documentNameProblem(context.value);
  if (problem !== undefined)
    context.issues.push({ code: "custom", message: `The name ${problem}`, input: context.value });
});

const input = z.strictObject({
  /** Names in the worker's folder; all documents there, up to a bound, if none are given. */
  documents: z.array(documentName).min(1).max(maxDocuments).optional(),
});

interface Document {
  readonly name: string;
  readonly bytes: number;
  readonly sha256: string;
  readonly cut: boolean;
  readonly blocks: readonly Block[];
  readonly outline: Outline;
}

/**
 * Reads a folder of documents, one step at a time, and ends with one Markdown digest of them: sources, headings, terms and
 * the sentences that say most. Everything that it computes between steps follows from recorded results alone.
 */
export const digest = defineAgent(
  { id: "digest", input },
  async ({ input: { documents: names }, step, log }) => {
    const listed = await step.run("list", async () =>
      names === undefined
        ? await listDocuments(digestFolder(), folderBounds)
        : { documents: await findDocuments(digestFolder(), [...new Set(names)]), leftOut: 0 },
    );

    const documents: Document[] = [];
    const skipped: { name: string; why: string }[] = [];
    for (const { name, bytes } of listed.documents) {
      const read = await step.run(`read ${name}`, () => readForDigest(name));
      if (read.kind === "skipped") {
        skipped.push({ name, why: read.why });
        continue;
      }
      const { sha256, cut, blocks } = read;
      const outline = await step.run(`outline ${name}`, () => outlineOf(name, blocks));
      documents.push({ name, bytes, sha256, cut, blocks, outline });
    }

    const terms = documents.map(({ blocks }) => blocks.flatMap(({ text }) => termsOf(text)));
    const frequencies = documentFrequencies(terms);
    const entries: Entry[] = [];
    for (const [index, { name, bytes, sha256, cut, blocks, outline }] of documents.entries()) {
      const sentences = await step.run(`key sentences ${name}`, () =>
        keySentences(blocks, frequencies, { title: outline.title, count: 3 }),
      );
      const heaviest = weighTerms(terms[index] ?? [], frequencies).slice(0, 6);
      entries.push({ name, bytes, sha256, cut, outline, sentences, terms: heaviest.map(({ term }) => term) });
    }

    const topTerms = commonTerms(terms, frequencies)
      .slice(0, 12)
      .map(({ term }) => ({ term, documents: frequencies.byTerm.get(term) ?? 0 }));
    log.info("digest composed", { documents: entries.length, skipped: skipped.length });
    const markdown = compose({ entries, skipped, leftOut: listed.leftOut, topTerms });
    return { documents: entries.length, skipped, markdown };
  },
);

type Read =
  | {
      readonly kind: "text";
      readonly sha256: string;
      readonly cut: boolean;
      readonly blocks: readonly Block[];
    }
  | { readonly kind: "skipped"; readonly why: string };

async function readForDigest(name: string): Promise<Read> {
  const contents = await readDocument(digestFolder(), name, maxReadBytes);
  if (contents.kind === "skipped") return contents;
  const blocks = withoutBoilerplate(readBlocks(contents.text));
  const kept = withinLength(blocks, maxKeptLength);
  return {
    kind: "text",
    sha256: contents.sha256,
    cut: contents.cut || kept.length < blocks.length,
    blocks: kept,
  };
}

function withinLength(blocks: readonly Block[], maxLength: number): readonly Block[] {
  let length = 0;
  const end = blocks.findIndex(({ text }) => (length += text.length) > maxLength);
  return end === -1 ? blocks : blocks.slice(0, end);
}
