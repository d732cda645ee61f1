import { defineAgent } from "holdfast";
import { z } from "zod";

import { compose, type Entry } from "./digest/compose.ts";
import { digestDocument } from "./digest/document.ts";
import { documentName } from "./digest/document-name.ts";
import { findDocuments, listDocuments } from "./digest/folder.ts";
import { keySentences } from "./digest/key-sentences.ts";
import { digestFolder } from "./digest/settings.ts";
import { commonTerms, documentFrequencies, termsOf, weighTerms } from "./digest/terms.ts";

const maxDocuments = 200;

const folderBounds = { maxDocuments, maxEntries: 50_000, maxDepth: 8 };

const input = z.strictObject({
  /** Names in the worker's folder; all documents there, up to a bound, if none are given. */
  documents: z.array(documentName).min(1).max(maxDocuments).optional(),
});

/** So many documents are worked on at the same time. */
const concurrency = 4;

/**
 * Has each document of a folder read by a run of its own, and ends with one Markdown digest of them: sources, headings,
 * terms and the sentences that say most. Everything that it computes between its calls follows from recorded results alone.
 */
export const digest = defineAgent(
  { id: "digest", input },
  async ({ input: { documents: names }, step, run, log }) => {
    const listed = await step.run("list", async () =>
      names === undefined
        ? await listDocuments(digestFolder(), folderBounds)
        : { documents: await findDocuments(digestFolder(), [...new Set(names)]), leftOut: 0 },
    );

    let finished = 0;
    const read = await step.map(
      "document",
      listed.documents,
      { concurrency },
      async ({ name, bytes }, branch) => {
        const found = await branch.step.invoke("read", digestDocument, { name });
        finished += 1;
        run.setState(`${finished} of ${listed.documents.length} documents read`);
        return { name, bytes, found };
      },
    );
    const skipped = read.flatMap(({ name, found }) =>
      found.kind === "skipped" ? [{ name, why: found.why }] : [],
    );
    const documents = read.flatMap(({ name, bytes, found }) =>
      found.kind === "text" ? [{ name, bytes, ...found }] : [],
    );

    const terms = documents.map(({ blocks }) => blocks.flatMap(({ text }) => termsOf(text)));
    const frequencies = documentFrequencies(terms);
    const entries = await step.map(
      "quote",
      documents,
      { concurrency },
      async (document, branch): Promise<Entry> => {
        const { name, bytes, sha256, cut, blocks, outline } = document;
        const sentences = await branch.step.run(`key sentences ${name}`, () =>
          keySentences(blocks, frequencies, { title: outline.title, count: 3 }),
        );
        const heaviest = weighTerms(terms[branch.index] ?? [], frequencies).slice(0, 6);
        return { name, bytes, sha256, cut, outline, sentences, terms: heaviest.map(({ term }) => term) };
      },
    );
    run.setState(`${entries.length} documents quoted`);

    const topTerms = commonTerms(terms, frequencies)
      .slice(0, 12)
      .map(({ term }) => ({ term, documents: frequencies.byTerm.get(term) ?? 0 }));
    log.info("digest composed", { documents: entries.length, skipped: skipped.length });
    const markdown = compose({ entries, skipped, leftOut: listed.leftOut, topTerms });
    return { documents: entries.length, skipped, markdown };
  },
);
