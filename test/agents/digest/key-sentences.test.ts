import { expect, test } from "vitest";

import { readBlocks } from "../../../app/agents/digest/blocks.ts";
import { withoutBoilerplate } from "../../../app/agents/digest/boilerplate.ts";
import { keySentences } from "../../../app/agents/digest/key-sentences.ts";
import { documentFrequencies, termsOf } from "../../../app/agents/digest/terms.ts";

function quote(markdown: string, count = 3): readonly string[] {
  const blocks = withoutBoilerplate(readBlocks(markdown));
  const frequencies = documentFrequencies([blocks.flatMap(({ text }) => termsOf(text)), ["other"]]);
  return keySentences(blocks, frequencies, { title: "kelp", count });
}

test("sections that every project has are not quoted", () => {
  const markdown = [
    "# kelp",
    "Kelp anchors durable files to slippery rocks.",
    "## Installation",
    "Install the kelp package with your favourite manager.",
    "## License",
    "Kelp is distributed under the terms of a permissive grant.",
    "### Third parties",
    "Some parts of kelp come from other seas entirely.",
    "## Usage",
    "Kelp grows towards the light by several metres weekly.",
  ].join("\n\n");
  expect(quote(markdown)).toEqual([
    "Kelp anchors durable files to slippery rocks.",
    "Kelp grows towards the light by several metres weekly.",
  ]);
});

test("sentences that say the same are quoted once", () => {
  const markdown =
    "Kelp anchors durable files to slippery rocks.\n\nDurable files are what kelp anchors to slippery rocks.\n";
  expect(quote(markdown)).toEqual(["Kelp anchors durable files to slippery rocks."]);
});

test("a sentence that points at what was said before gives way to one that stands alone", () => {
  const markdown =
    "Kelp anchors durable files to slippery rocks. This makes durable storage survive violent coastal storms. Storage nodes replicate across distant harbours nightly.";
  expect(quote(markdown, 2)).toEqual([
    "Kelp anchors durable files to slippery rocks.",
    "Storage nodes replicate across distant harbours nightly.",
  ]);
});

test("a text without a whole sentence is not quoted", () => {
  expect(quote("# kelp\n\nSee:\n\n```sh\nnpm test\n```\n\n- one\n- two\n")).toEqual([]);
  expect(quote("")).toEqual([]);
});
