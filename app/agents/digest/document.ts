import { defineAgent } from "holdfast";
import { z } from "zod";

import { type Block, readBlocks } from "./blocks.ts";
import { withoutBoilerplate } from "./boilerplate.ts";
import { documentName } from "./document-name.ts";
import { readDocument } from "./folder.ts";
import { type Outline, outlineOf } from "./outline.ts";
import { digestFolder } from "./settings.ts";

/** What a document's file may bring in, and what of it is recorded: history is kept as long as the run. */
const maxReadBytes = 256 * 1024;
const maxKeptLength = 32 * 1024;

interface Skipped {
  readonly kind: "skipped";
  readonly why: string;
}

interface Text {
  readonly kind: "text";
  readonly sha256: string;
  readonly cut: boolean;
  readonly blocks: readonly Block[];
}

/** What a digest needs of one document of the worker's folder. */
export const digestDocument = defineAgent(
  { id: "digest-document", input: z.strictObject({ name: documentName }) },
  async ({ input: { name }, step }): Promise<Skipped | (Text & { readonly outline: Outline })> => {
    const read = await step.run(`read ${name}`, () => readForDigest(name));
    if (read.kind === "skipped") return read;
    const outline = await step.run(`outline ${name}`, () => outlineOf(name, read.blocks));
    return { ...read, outline };
  },
);

async function readForDigest(name: string): Promise<Skipped | Text> {
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
